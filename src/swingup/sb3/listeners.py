"""What `learn` tells while it runs: callbacks of ours and of Stable-Baselines3's kinds, and its lines."""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.errors import InputError
from swingup.reports.callback import Callback, RunContext, as_callbacks
from swingup.reports.progress import console_of
from swingup.reports.wording import number
from swingup.training.callbacks import Callbacks

if TYPE_CHECKING:
    from swingup.loops.base import IterationResult
    from swingup.reports.metrics_logger import MetricsLogger
    from swingup.types import Episode


def listeners(callback: Any, model: Any, arguments: dict[str, Any]) -> list[Callback]:
    """A `callback` argument of `learn` as callbacks of ours.

    It may be a Callback, an object with `on_step` as theirs, a function of the iteration's result or of
    (locals, globals), or a list of these; a function that returns False ends training. arguments: those of
    `learn`. InputError for anything else, and for a callback that waits for what `learn` does not make.
    """
    if isinstance(callback, (list, tuple)):
        return [found for part in callback for found in listeners(part, model, arguments)]
    if hasattr(callback, "on_step"):
        return [StepListener(callback, callback.on_step, model, arguments)]
    if callable(callback) and not isinstance(callback, type) and takes(callback, 2):
        listener = StepListener(None, lambda: None, model, arguments)
        listener.on_step = lambda: callback(listener.seen, {})
        return [listener]
    if not (callback is None or callable(callback) or isinstance(callback, Callback)):
        raise InputError(
            f"{type(model).__name__}.learn: callback={callback!r:.60}: expected a swingup.Callback, an "
            "object with on_step, a function of the iteration's result, or a list of these"
        )
    found = as_callbacks(callback, f"{type(model).__name__}.learn: callback")
    for one in found:
        for method in ("on_evaluation", "on_checkpoint"):
            if getattr(type(one), method) is not getattr(Callback, method):
                raise InputError(
                    f"learn: {type(one).__name__}.{method} would never be called, as learn has none; "
                    "use swingup.train(env, callbacks=...)"
                )
    return found


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


class StepListener(Callback):
    """Calls an object as Stable-Baselines3 calls a callback: for each time step, with what it can see there.

    target: the object with `on_step` (None for a function); on_step() -> False ends training. seen: the
    names that theirs read in `self.locals`.
    """

    def __init__(self, target: Any, on_step: Callable[[], Any], model: Any, arguments: dict[str, Any]):
        self.target, self.on_step, self.model = target, on_step, model
        self.seen: dict[str, Any] = {"self": model, **arguments}

    def tell(self, method: str, *args: Any) -> None:
        """Call a method that the object may have."""
        if function := getattr(self.target, method, None):
            function(*args)

    def on_start(self, run: RunContext) -> None:
        self.stop, self.layout = run.stop, run.loop.spec.layout
        self.tell("init_callback", self.model)
        self.tell("on_training_start", self.seen, {})
        self.tell("on_rollout_start")

    def on_iteration(self, result: IterationResult) -> None:
        spec, (steps, n, _) = self.model.loop.spec, result.rows.shape
        for k, row in enumerate(result.rows):
            t = self.layout.unpack(row)
            self.model.num_timesteps = result.step - (steps - 1 - k) * n
            infos: list[dict[str, Any]] = [{} for _ in range(n)]
            for episode in result.episodes if k == steps - 1 else ():
                infos[episode.env]["episode"] = {"r": episode.ret, "l": episode.length}
            self.seen |= {
                "actions": spec.to_env(t.action),
                "rewards": t.reward,
                "dones": t.last > 0,
                "new_obs": t.next_obs,
                "infos": infos,
            }
            self.tell("update_locals", self.seen)
            if self.on_step() is False:
                self.stop("callback")
        self.tell("on_rollout_end")
        self.tell("on_rollout_start")

    def on_end(self, run: RunContext) -> None:
        self.tell("on_rollout_end")
        self.tell("on_training_end")


class EpisodeLines(Callback):
    """Prints a line every so many episodes: what verbose=1 shows.

    every: episodes; window: over how many of the last ones the return is averaged.
    """

    def __init__(self, every: int, window: int):
        self.between, self.recent = every, deque[float](maxlen=window)
        self.count, self.losses = 0, ""

    def on_start(self, run: RunContext) -> None:
        self.started, self.first = time.monotonic(), run.loop.steps
        self.loop = run.loop

    def on_iteration(self, result: IterationResult) -> None:
        self.step = result.step
        if result.metrics is not None:
            self.losses = f" · critic loss {result.metrics.critic_loss:.3g} · Q {result.metrics.q_mean:.3g}"

    def on_episode(self, episode: Episode) -> None:
        self.count += 1
        self.recent.append(episode.ret)
        if self.count % self.between == 0:
            speed = (self.loop.steps - self.first) / max(time.monotonic() - self.started, 1e-9)
            mean = number(float(np.mean(self.recent)))
            line = f"step {self.step:,} · {self.count} episodes · return {mean} · {speed:,.0f} steps/s"
            print(line + self.losses, flush=True)


class LoggerFeed(EpisodeLines):
    """Gives the figures of every so many episodes to a logger with `record` and `dump`, such as theirs."""

    def __init__(self, every: int, window: int, logger: Any):
        super().__init__(every, window)
        self.logger, self.lengths = logger, deque[float](maxlen=window)

    def on_iteration(self, result: IterationResult) -> None:
        super().on_iteration(result)
        if result.metrics is not None:
            for name in ("critic_loss", "actor_loss"):
                self.logger.record(f"train/{name}", float(getattr(result.metrics, name)))

    def on_episode(self, episode: Episode) -> None:
        self.count += 1
        self.recent.append(episode.ret)
        self.lengths.append(episode.length)
        if self.count % self.between == 0:
            self.logger.record("rollout/ep_rew_mean", float(np.mean(self.recent)))
            self.logger.record("rollout/ep_len_mean", float(np.mean(self.lengths)))
            self.logger.record("time/episodes", self.count)
            self.logger.record("time/total_timesteps", self.step)
            self.logger.dump(step=self.step)


class Records:
    """The model's `logger`: numbers that callbacks record, written to TensorBoard by `dump`.

    board: what writes them while `learn` runs with a tensorboard_log.
    """

    def __init__(self) -> None:
        self.name_to_value: dict[str, Any] = {}
        self.board: MetricsLogger | None = None

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        """Keep a number under a tag until `dump`."""
        self.name_to_value[key] = value

    def dump(self, step: int = 0) -> None:
        """Write what was recorded, at this step."""
        points = {
            k: float(v) for k, v in self.name_to_value.items() if isinstance(v, (int, float, np.number))
        }
        if self.board is not None and not self.board.broken:
            self.board.guard(partial(self.board.scalars, points, step))
        self.name_to_value = {}


@contextmanager
def listening(ours: Sequence[Callback], users: Sequence[Callback], run: RunContext) -> Iterator[Callbacks]:
    """The callbacks of a call of `learn`, told of its beginning and its end."""
    callbacks = Callbacks(ours, users, console_of(quiet=False).print)
    callbacks.tell("on_start", run)
    try:
        yield callbacks
    finally:
        callbacks.tell("on_end", run)


def new_folder(log: str | Path, name: str) -> Path:
    """Make the folder log/name_k, with the number after the largest that is there."""
    taken = [int(k) for path in Path(log).glob(f"{name}_*") if (k := path.name.rpartition("_")[2]).isdigit()]
    folder = Path(log) / f"{name}_{max(taken, default=0) + 1}"
    folder.mkdir(parents=True)
    return folder
