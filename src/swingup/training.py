"""`train` and `resume`: from settings, or a run's folder, to a trained policy. It only sequences; engine, logs and files are elsewhere."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import gymnasium

from swingup import runtime
from swingup.config.presets import base
from swingup.config.settings import Config, apply, check, fit, plan
from swingup.envs.api import HostEnv
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import LOCKSTEP, factory, find, in_jax, lockstep
from swingup.envs.rendering import need_display, rendering
from swingup.errors import Diverged, EnvFault, InputError
from swingup.loops.evaluation import Evaluation
from swingup.reports.progress import console_of, views
from swingup.reports.video import Recorder, cubic
from swingup.runs.run import Run, figures
from swingup.stop import Interrupted, Stop, interruptible
from swingup.storage import run_folder, text_file, trusted_modules

if TYPE_CHECKING:
    from swingup.keeper import Keeper
    from swingup.loops.base import Loop
    from swingup.runs.group import Group


@dataclass(frozen=True)
class Options:
    """How a run shows itself; nothing here changes a byte of what it learns."""

    run_dir: Path | None = None
    """A new folder for the run; by default one under runs/."""
    quiet: bool = False
    """No progress: only the closing line."""
    record: bool = False
    """Film training episodes 0, 1, 8, 27, ..., 1000, 2000, ... of the first environment into the run's videos/."""
    render: bool = False
    """Show the first environment in a window while it trains."""
    require_exact: bool = False
    """When going on with a run: stop with an error where the result could differ by a bit from an uninterrupted one. On a GPU:
    only operations that give the same bits each time."""
    weights_only: bool = False
    """When going on with a run whose saved replay is damaged: with its weights, a new replay and new episodes."""


class Within(NamedTuple):
    """What a group of runs gives to each of them: where it speaks (`print(text)`), what looks on, how it is stopped (None: by
    signals of its own), and what makes its loop."""

    console: Any
    view: Any
    stop: Stop | None
    loop: Callable[[Config, Envs], Loop]


@overload
def train(env: Any, *, seeds: None = None, **settings: Any) -> Run: ...
@overload
def train(env: Any, *, seeds: str | int | Sequence[int], **settings: Any) -> Group: ...
def train(
    env: Any,
    *,
    preset: str = "auto",
    seeds: str | int | Sequence[int] | None = None,
    seeds_mode: str = "auto",
    run_dir: str | Path | None = None,
    quiet: bool = False,
    record: bool = False,
    render: bool = False,
    **settings: Any,
) -> Run | Group:
    """Train a policy and return its run; with `seeds` one for each of them, and return their group.

    env: a Gymnasium id, `module:Id`, an environment that was made from an id, or a function that makes one.
    settings: fields of `Config` (`steps=`, `seed=`, `gamma=` ...); they win over the preset. run_dir: a new folder for
    the run, else one under runs/. record: film training episodes; render: show them in a window. seeds: a count, "0:8" or a list;
    seeds_mode: auto, process or vmap (`swingup train --help`).

    Raises InputError (a ValueError) for settings or environments that cannot be used, EnvFault where the environment breaks
    its contract on the way, Diverged where a gradient stops being finite, KeyboardInterrupt where it was stopped; the
    policy until then is kept.
    """
    if isinstance(env, str):
        trusted_modules.remember(env)
    name = env if isinstance(env, str) else describe(factory(env))
    config = check(apply(base(name, preset), {"env": name, **settings}, "train"))
    arguments = ", ".join(f"{k}={v!r}" for k, v in {"preset": preset, **settings}.items())
    options = Options(Path(run_dir) if run_dir else None, quiet, record, render)
    command = f"swingup.train({name!r}, {arguments})"
    if seeds is None:
        return whole(run_training(config, env, options, command))
    from swingup.multiseed.seeds import Seeds, numbers
    from swingup.multiseed.train import complete, train_seeds
    from swingup.runs.group import mode_of

    wanted = Seeds(numbers(seeds), mode_of(seeds_mode), "threads" in settings)
    return complete(train_seeds(config, env, wanted, options, command))


def resume(
    folder: str | Path,
    steps: int | None = None,
    env: Any = None,
    *,
    quiet: bool = False,
    require_exact: bool = False,
    weights_only: bool = False,
) -> Run | Group:
    """Go on with a run, or with all unfinished runs of a group, from its newest checkpoint, to `steps` environment steps in all (by default those it was meant for).

    env: the environment, where the run was trained on an object or a function. Raises InputError where the folder, its
    checkpoints or `steps` cannot be used, and with require_exact where the result could differ from an uninterrupted run.
    weights_only: where the saved replay is damaged, go on with the weights, a new replay and new episodes.
    """
    from swingup.multiseed.train import complete, resume_seeds
    from swingup.runs.group import is_group

    if is_group(Path(folder)):
        command = f"swingup.resume({str(folder)!r}, {steps})"
        return complete(resume_seeds(Path(folder), steps, env, Options(None, quiet, require_exact=require_exact), command))
    old, config = settings_of(folder, steps)
    options = Options(old, quiet, require_exact=require_exact, weights_only=weights_only)
    return whole(run_training(config, env or Run(old).env, options, f"swingup.resume({str(folder)!r}, {steps})", old))


def settings_of(folder: str | Path, steps: int | None) -> tuple[Path, Config]:
    """A run's folder and its settings, with a new length where one is given."""
    old = run_folder.find_run(folder)
    config = run_folder.read_config(old)
    return old, check(dataclasses.replace(config, steps=steps)) if steps is not None else config


def whole(run: Run) -> Run:
    if not run.result:
        raise KeyboardInterrupt(f"training stopped; go on with swingup.resume({str(run.folder)!r})")
    return run


def describe(make: Any) -> str:
    with closing(GymEnv(make)) as env:
        return env.spec.env


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


class Envs(NamedTuple):
    """The environments of a run: those it learns from (a JaxEnv where the loop is fused), and copies for evaluation, and which of
    them must be closed."""

    training: Any
    testing: HostEnv
    hosts: tuple[HostEnv, ...]


def make_envs(config: Config, env: Any, options: Options) -> Envs:
    """The environments of a run."""
    return fused(config, options) if in_jax(config.env) else on_host(config, env, options)


def on_host(config: Config, env: Any, options: Options) -> Envs:
    """Gymnasium environments, in this process or in workers."""
    if config.devices > 1:
        raise InputError(
            f"--devices {config.devices}: {config.env} runs in Python; only environments in JAX are shared (native/...)"
        )
    if config.workers is not None:
        return in_workers(config, env, options)
    make = makers(config, env, options)
    training = GymEnv(make, config.envs, config.env, config.episode_steps)
    if not isinstance(env, str) and make().unwrapped is training.envs[0].unwrapped:
        raise InputError(f"environment {config.env}: the function returns the same object each time; let it make a new one")
    testing = lockstep(env, copies_of(config), config.env, config.episode_steps)
    return Envs(training, testing, (training, testing))


def in_workers(config: Config, env: Any, options: Options) -> Envs:
    """Gymnasium environments in processes of their own."""
    if options.record or options.render:
        raise InputError(
            "--workers: environments in other processes are not drawn; leave --workers out, or film afterwards: swingup video RUN"
        )
    from swingup.envs.subprocess_env import WorkerEnv

    say = (lambda line: None) if options.quiet else (lambda line: print(f"swingup: {line}", file=sys.stderr))
    workers = min(config.workers or 1, config.envs)
    training = WorkerEnv(factory(env), config.envs, workers, config.env, config.episode_steps, report=say)
    testing = lockstep(env, copies_of(config), config.env, config.episode_steps)
    return Envs(training, testing, (training, testing))


def fused(config: Config, options: Options) -> Envs:
    """An environment written in JAX, for the fused loop."""
    if options.record or options.render:
        flag = "--record" if options.record else "--render"
        raise InputError(
            f"{flag}: {config.env} is compiled together with the training and draws nothing; film it afterwards: swingup video RUN"
        )
    if config.workers is not None:
        raise InputError(f"--workers {config.workers}: {config.env} is compiled together with the training; leave --workers out")
    runtime.prepare(config.threads, options.require_exact)
    if config.devices > 1:
        from swingup.core.sharding import split

        split(config.devices)  # now, before there is a folder
    testing = lockstep(config.env, copies_of(config), config.env, config.episode_steps)
    return Envs(find(config.env), testing, (testing,))


def copies_of(config: Config) -> int:
    return min(LOCKSTEP, max(config.eval_episodes, config.final_episodes))


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
    from swingup.keeper import Keeper, newest
    from swingup.reports.metrics_logger import Logs

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


def make_loop(config: Config, envs: Envs, **device: Any) -> Loop:
    """The loop for these environments; it lets us look at every step at which something is logged, evaluated or saved.

    device: where the fused one is to compute, if not alone (`FusedLoop`).
    """
    from swingup.reports.metrics_logger import interval

    made_plan = plan(config, envs.testing.spec)
    every = (interval(made_plan.rows), config.eval_every, config.save_every or config.eval_every)
    if not in_jax(config.env):
        from swingup.loops.host import HostLoop

        return HostLoop(made_plan, envs.training, config.seed, every=every, end=config.steps)
    from swingup.loops.fused import FusedLoop

    return FusedLoop(made_plan, envs.training, config.seed, limit=config.episode_steps, every=every, end=config.steps, **device)


def enough_memory(config: Config, width: int) -> None:
    """InputError, with the largest capacity that fits, where replay will not fit into memory."""
    row = 4 * (width + (2 if config.priority is not None else 0))
    free = runtime.free_memory() * 0.9
    if config.capacity * row > free:
        raise InputError(
            f"--capacity {config.capacity}: replay takes {config.capacity * row / 2**30:,.1f} GiB and {free / 2**30:,.1f} are free; "
            f"the largest that fits is {int(free // row)}"
        )


def makers(config: Config, env: Any, options: Options) -> Callable[[], gymnasium.Env]:
    """A function that makes the training environments one after the other, the first as one that draws if it is to be seen."""
    plain = factory(env)
    if options.render and options.record:
        raise InputError("--render --record: an environment draws on a window or into a file, not both; choose one")
    if options.render:
        need_display("--render")
    if not (options.render or options.record):
        return plain
    mode = "human" if options.render else "rgb_array"
    makes = chain([lambda: rendering(factory(env, render_mode=mode), mode, config.env)], repeat(plain))
    return lambda: next(makes)()


def finish(config: Config, keeper: Keeper, stop: Stop) -> Generator[None, None, Evaluation | None]:
    """Tick until the budget is spent, evaluating and saving on the way; keeps the policy whatever happens. None if interrupted.

    Pauses where the next tick is not there yet but has to be computed.
    """
    loop = keeper.loop
    try:
        # Not where it was the closing evaluation that did not end: that one is made anew below.
        if keeper.pending and not stop.asked and due(config, keeper, loop.steps - loop.plan.rows):
            keeper.evaluate(loop.steps, config.eval_episodes)
        while not over(config, keeper) and not (stop.asked and loop.settled):
            if loop.settled:
                yield
            loop.end = end(config, keeper)
            before, tick = loop.steps, loop.tick(ahead=not stop.asked)
            for report in keeper.reports:
                report.tick(tick)
            if due(config, keeper, before):
                keeper.evaluate(tick.step, config.eval_episodes)
            if (
                passed(config.save_every or config.eval_every, before, tick.step)
                or keeper.improved == tick.step
                or over(config, keeper)
            ):
                keeper.save()
        if not stop.asked:
            return keeper.conclude(loop.steps)
    except (EnvFault, Diverged, KeyboardInterrupt) as error:
        error.add_note(f"the policy of step {loop.steps} is in {keeper.folder}")
        raise
    except Interrupted:
        pass
    finally:
        keeper.save_policy("last")
    if not keeper.save():
        keeper.logs.warn(f"warning: step {loop.steps:,} could not be saved; the run can only go on from the checkpoint before it")
    return None


def end(config: Config, keeper: Keeper) -> int:
    """The step at which the budget may be spent at the earliest: any step may end an episode."""
    if config.episodes is None:
        return config.steps
    # Seeds that share a program move on together, however many episodes each of them has left.
    left = config.episodes - keeper.logs.episodes if keeper.loop.lanes == 1 else keeper.loop.plan.rows
    return min(keeper.loop.steps + left, config.steps)


def over(config: Config, keeper: Keeper) -> bool:
    """Whether the budget is spent."""
    return keeper.loop.steps >= config.steps or keeper.logs.episodes >= (config.episodes or math.inf)


def due(config: Config, keeper: Keeper, before: int) -> bool:
    """Whether an evaluation is, after the steps since `before`; the last step has the closing one instead."""
    return passed(config.eval_every, before, keeper.loop.steps) and not over(config, keeper)


def passed(every: int, before: int, step: int) -> bool:
    """Whether a multiple of `every` lies in (before, step]."""
    return step // every > before // every
