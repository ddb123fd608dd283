"""`train` and `resume`: from settings, or a run's folder, to a trained policy. It only sequences; engine, logs and files are elsewhere."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swingup import runtime
from swingup.config.settings import Config, check
from swingup.envs.gym_env import GymEnv
from swingup.reports.progress import console_of, views
from swingup.reports.video import Recorder, cubic
from swingup.runs.run import Run, figures
from swingup.storage import run_folder, text_file
from swingup.training.build import enough_memory, fit, make_loop
from swingup.training.environments import Envs, make_envs
from swingup.training.options import Options
from swingup.training.signals import Stop, interruptible
from swingup.training.trainer import finish

if TYPE_CHECKING:
    from swingup.loops.base import Loop
    from swingup.training.checkpointer import Keeper


class Within(NamedTuple):
    """What a group of runs gives to each of them: where it speaks (`print(text)`), what looks on, how it is stopped (None: by
    signals of its own), and what makes its loop."""

    console: Any
    view: Any
    stop: Stop | None
    loop: Callable[[Config, Envs], Loop]


def settings_of(folder: str | Path, steps: int | None) -> tuple[Path, Config]:
    """A run's folder and its settings, with a new length where one is given."""
    old = run_folder.find_run(folder)
    config = run_folder.read_config(old)
    return old, check(dataclasses.replace(config, steps=steps)) if steps is not None else config


def run_training(config: Config, env: Any, options: Options, command: str, old: Path | None = None) -> Run:
    """One run, from an empty folder or the newest checkpoint in `old` to its closing evaluation; without a result if it was interrupted.

    command: what is written down as having started it.
    """
    return ended(stages(config, env, options, command, old))


def ended(run: Generator[None, None, Run]) -> Run:
    """Let a run of `stages` go to its end."""
    try:
        while True:
            next(run)
    except StopIteration as end:
        return end.value


def stages(
    config: Config, env: Any, options: Options, command: str, old: Path | None = None, within: Within | None = None
) -> Generator[None, None, Run]:
    """The same run in stages: it pauses wherever its loop is about to compute, so that several can take turns."""
    started = time.monotonic()
    with ExitStack() as stack:
        stop = (within and within.stop) or stack.enter_context(interruptible())
        # The environments first: an id or a space that cannot work is refused before JAX is imported or a folder made.
        envs = make_envs(config, env, options)
        for each in envs.hosts:
            stack.callback(each.close)
        fit(config, envs.testing.spec)
        enough_memory(config, envs.testing.spec.layout.width)
        folder = old or run_folder.new_folder(config, options.run_dir)
        runtime.prepare(config.threads, options.require_exact)
        console = within.console if within else console_of(options.quiet)
        if old is None:
            run_folder.write_config(folder, config, command)
        if not isinstance(env, str):
            text_file.write(
                folder / "factory.txt", f"made from {env!r}, which only Python can give again: swingup.load(folder, env)\n"
            )
        if options.record and isinstance(envs.training, GymEnv):
            envs.training.envs[0] = Recorder(envs.training.envs[0], folder / "videos", cubic, console.print)
        if within is None:
            console.print(f"{config.env} · preset {config.preset} · seed {config.seed} · {runtime.device_line(config.threads)}")
        keeper = begin(config, envs, folder, Around(console, stack, stop, options.require_exact, options.weights_only, within))
        if old is not None:  # only now: a run that cannot go on keeps its settings and its result
            run_folder.write_config(folder, config, command, append=True)
            (folder / "result.json").unlink(missing_ok=True)
        last = yield from finish(config, keeper, stop)
        if last is not None:
            result = figures(last, folder, time.monotonic() - started, keeper.loop.steps)
            text_file.write(folder / "result.json", json.dumps(result) + "\n")
    return Run(folder, None if isinstance(env, str) else env)


class Around(NamedTuple):
    """What surrounds a run: where it speaks, what closes with it, how it is stopped, whether only an exact way back will do, or even
    weights alone, and the group that it belongs to."""

    console: Any
    stack: ExitStack
    stop: Stop
    exactly: bool
    weights_only: bool
    within: Within | None


def begin(config: Config, envs: Envs, folder: Path, around: Around) -> Keeper:
    """The loop, what looks on and what keeps it: new, or as the newest checkpoint in the folder has them."""
    from swingup.reports.metrics_logger import Logs
    from swingup.training.checkpointer import Keeper, newest

    say, stack, within = around.console.print, around.stack, around.within
    saved = newest(folder, lambda line: say(f"warning: {line}"), not around.weights_only)
    since = saved.step if saved else -1 if (folder / "metrics.csv").exists() or (folder / "episodes.csv").exists() else None
    loop = (within.loop if within else make_loop)(config, envs)
    logs = stack.enter_context(closing(Logs(folder, say, loop, since)))
    keeper = stack.enter_context(closing(Keeper(config, folder, loop, envs.testing, logs, around.stop)))
    if saved is None:
        logs.cut(-1, -1)
        logs.settings(dataclasses.asdict(config))
        logs.graph(loop.plan.agent)
    else:
        say(f"resumed at step {saved.step:,}: {keeper.resume(saved, around.exactly)}")
    for view in (
        [within.view]
        if within
        else views(around.console, config.env, config.steps, config.episodes, config.episode_lines, logs.episodes)
    ):
        keeper.reports.append(stack.enter_context(closing(view)))
    return keeper
