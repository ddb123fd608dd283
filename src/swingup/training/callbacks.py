"""Calls all callbacks of a run: an error in a built-in one is a warning, in a user's it ends the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.reports.callback import Callback

if TYPE_CHECKING:
    from swingup.loops.base import IterationResult


class Callbacks:
    """Calls all callbacks of a run, the built-in ones first.

    ours: built-in ones; one that raises is removed with a warning, and training goes on. users: the user's;
    one that raises ends the run.
    """

    def __init__(self, ours: Sequence[Callback], users: Sequence[Callback], warn: Callable[[str], None]):
        self.ours, self.users, self.warn = list(ours), list(users), warn
        self.error: Exception | None = None  # what a user's callback raised

    def tell(self, method: str, *args: Any) -> None:
        """Call `method` of each; an exception from a user's callback passes through."""
        self.tell_ours(method, *args)
        for callback in self.users:
            try:
                getattr(callback, method)(*args)
            except Exception as error:
                self.error = error
                raise

    def tell_ours(self, method: str, *args: Any) -> None:
        """Call `method` of the built-in callbacks only."""
        for callback in list(self.ours):
            try:
                getattr(callback, method)(*args)
            except Exception as error:
                self.ours.remove(callback)
                what = f"{type(callback).__name__} failed ({type(error).__name__}: {error})"
                self.warn(f"warning: {what}; training goes on without it")

    def on_iteration(self, result: IterationResult, users: bool = True) -> None:
        """Report an iteration and the episodes that ended in it; users: to users' callbacks, too."""
        tell = self.tell if users else self.tell_ours
        tell("on_iteration", result)
        for episode in result.episodes:
            tell("on_episode", episode)

    def named(self) -> Iterator[tuple[str, Callback]]:
        """Each callback with its name in a checkpoint: its class, numbered from the second one on."""
        counts: dict[str, int] = {}
        for callback in (*self.ours, *self.users):
            kind = type(callback).__name__
            counts[kind] = counts.get(kind, 0) + 1
            yield kind if counts[kind] == 1 else f"{kind}-{counts[kind]}", callback

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The state of all callbacks: arrays by `callback.NAME.KEY`, other values by NAME and KEY."""
        arrays: dict[str, np.ndarray] = {}
        values: dict[str, Any] = {}
        for name, callback in self.named():
            state = callback.state()
            arrays |= {f"callback.{name}.{k}": v for k, v in state.items() if isinstance(v, np.ndarray)}
            if rest := {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}:
                values[name] = rest
        return arrays, values

    def restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        """Give each callback back what its `state` returned; exceptions pass through."""
        for name, callback in self.named():
            prefix = f"callback.{name}."
            mine = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            if mine or name in values:
                callback.restore({**values.get(name, {}), **mine})
