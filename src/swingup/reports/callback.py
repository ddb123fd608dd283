"""Callbacks: code that is called while a run trains, and that may stop it.

The metrics logger, the progress bar, the notebook's learning curve and a seed's row of the status table are
callbacks like a user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swingup.core.policy import Policy
    from swingup.loops.base import IterationResult, Loop
    from swingup.loops.evaluation import Evaluation
    from swingup.types import Episode


@dataclass(frozen=True)
class RunContext:
    """The running training, as passed to its callbacks.

    folder: the run folder; settings: every setting by name; resumed: whether the run continues from a
    checkpoint; stop(reason): ends the run after this iteration, with its closing evaluation, and writes the
    reason into its result.
    """

    folder: Path
    settings: dict[str, Any]
    loop: Loop
    resumed: bool
    stop: Callable[[str], None]

    @property
    def step(self) -> int:
        """Environment steps done."""
        return self.loop.steps

    @property
    def episodes(self) -> int:
        """Training episodes finished."""
        return self.loop.episodes

    def policy(self) -> Policy:
        """The current greedy policy."""
        return self.loop.policy()


class Callback:
    """Base class of callbacks; every method does nothing until it is overridden.

    An error in a user's callback ends the run with its traceback; the policy and a checkpoint are saved.
    """

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
