"""Callbacks: code that is called while a run trains, and that may stop it.

The metrics logger, the progress bar, the notebook's learning curve and a seed's row of the status table are
callbacks like a user's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swingup.errors import InputError

if TYPE_CHECKING:
    from swingup.core.policy import Policy
    from swingup.loops.base import IterationResult, Loop
    from swingup.loops.evaluation import Evaluation
    from swingup.types import Episode


@dataclass(frozen=True)
class RunContext:
    """The running training, as passed to its callbacks.

    folder: the run folder (None in `DDPG.learn`, which has none); settings: every setting by name; resumed:
    whether the run continues from a checkpoint; stop(reason): ends the run after this iteration, with its
    closing evaluation, and writes the reason into its result; warn(line): shows a line to the user.
    """

    folder: Path | None
    settings: dict[str, Any]
    loop: Loop
    resumed: bool
    stop: Callable[[str], None]
    warn: Callable[[str], None]

    @property
    def step(self) -> int:
        """Environment steps done."""
        return self.loop.steps

    @property
    def episodes(self) -> int:
        """Training episodes finished."""
        return self.loop.episodes

    def policy(self) -> Policy:
        """The current greedy policy; in `on_iteration` it may be some iterations ahead (see `every`)."""
        return self.loop.policy()


class Callback:
    """Base class of callbacks; every method does nothing until it is overridden.

    An error in a user's callback ends the run with its traceback; the policy and a checkpoint are saved.
    every: environment steps between those at which `on_iteration` finds in `run.policy()` the weights of that
    very step; at others the loop may have computed ahead. None: it has no need of them.
    """

    every: int | None = None

    def on_start(self, run: RunContext) -> None:
        """Training starts, or continues from a checkpoint (then called after `restore`)."""

    def on_iteration(self, result: IterationResult) -> None:
        """One iteration is done: K time steps of every environment, and their updates."""

    def on_episode(self, episode: Episode) -> None:
        """A training episode ended; called after `on_iteration`."""

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        """An evaluation was made at this environment step."""

    def on_checkpoint(self, step: int, path: Path) -> None:
        """The checkpoint of this environment step is durable on disk."""

    def on_end(self, run: RunContext) -> None:
        """Training is over: finished, interrupted or failed."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs: NumPy arrays and JSON values, by name."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned; ValueError, TypeError or LookupError where that cannot be."""


class FunctionCallback(Callback):
    """A function of each iteration's result; if it returns False the run stops."""

    def __init__(self, function: Callable[[IterationResult], Any]):
        self.function = function

    def on_start(self, run: RunContext) -> None:
        self.run = run

    def on_iteration(self, result: IterationResult) -> None:
        if self.function(result) is False:
            self.run.stop(f"{getattr(self.function, '__name__', 'a callback')} returned False")


# What `callbacks=` and `callback=` accept.
Callbackable = Callback | Callable[["IterationResult"], Any] | Sequence[Any] | None


def as_callbacks(given: Callbackable, where: str = "callbacks") -> list[Callback]:
    """The callbacks in a Callback, a class of them, a function of an iteration's result, or a list of these.

    InputError for anything else.
    """
    if given is None:
        return []
    if isinstance(given, (list, tuple)):
        return [callback for one in given for callback in as_callbacks(one, where)]
    if isinstance(given, type) and issubclass(given, Callback):
        try:
            return [given()]
        except TypeError as error:
            made = f"give an object, for example {given.__name__}(...)"
            raise InputError(f"{where}: {given.__name__} cannot be made without arguments; {made}") from error
    if isinstance(given, Callback):
        return [given]
    if callable(given) and not isinstance(given, type):
        return [FunctionCallback(given)]
    raise InputError(
        f"{where}: {given!r:.80} is no callback; give a swingup.Callback, a function of an iteration's "
        "result, or a list of them"
    )
