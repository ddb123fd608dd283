"""One run, from settings or a checkpoint to its closing evaluation: makes the parts and starts training."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swingup import runtime
from swingup.config.settings import named_objects
from swingup.envs.gym_env import GymEnv
from swingup.envs.remarks import Remarks
from swingup.errors import InputError
from swingup.reports.callback import Callback, Callbackable, RunContext, as_callbacks
from swingup.reports.progress import console_of
from swingup.reports.provenance import provenance
from swingup.reports.video import Recorder, cubic
from swingup.runs.run import Run, figures
from swingup.runs.run import closing as closing_line
from swingup.runs.source import write_source
from swingup.storage import checkpoint_reader, run_folder, text_file, trusted_modules
from swingup.training.build import RunBuilder
from swingup.training.environments import Environments, open_environments
from swingup.training.options import Options
from swingup.training.signals import Interrupted, StopRequest, stop_on_signals
from swingup.training.start import demos_saved

if TYPE_CHECKING:
    from swingup.loops.base import Loop, Start
    from swingup.loops.evaluation import Evaluation
    from swingup.reports.metrics_logger import MetricsLogger
    from swingup.training.trainer import Training


class SeedContext(NamedTuple):
    """What a group of seeds gives to the run of each seed.

    console: where it prints (`print(text)`); progress: the callback that shows its progress; stop: the
    group's stop request (None: the run handles signals itself); make_loop: makes its loop from its builder
    and environments.
    """

    console: Any
    progress: Callback
    stop: StopRequest | None
    make_loop: Callable[[RunBuilder, Environments], Loop]


def run_training(
    builder: RunBuilder,
    env: Any,
    options: Options,
    command: str,
    old: Path | None = None,
    context: SeedContext | None = None,
    callbacks: Callbackable = None,
) -> Run:
    """Train one run to its end, from a new folder or from the newest checkpoint in `old`.

    env: an id, a Gymnasium object or a function that makes one; command: the command recorded in the run
    folder. The run has no result if it was interrupted.
    """
    session = training_session(builder, env, options, command, old, context, callbacks)
    try:
        while True:
            next(session)
    except StopIteration as end:
        return end.value


def training_session(
    builder: RunBuilder,
    env: Any,
    options: Options,
    command: str,
    old: Path | None = None,
    context: SeedContext | None = None,
    callbacks: Callbackable = None,
) -> Generator[None, None, Run]:
    """`run_training` as a generator that pauses before each computation, so that runs can take turns."""
    source, there = None if isinstance(env, str) else env, [old] if old else []
    try:
        return (yield from session(builder, env, options, command, old, context, callbacks, there))
    except Interrupted:  # before the first step: from then on `train` saves and ends the run
        if there:
            run = Run(there[0], source, networks=builder.networks)
            run.interrupted = True
            return run
        raise KeyboardInterrupt from None


def session(
    builder: RunBuilder,
    env: Any,
    options: Options,
    command: str,
    old: Path | None,
    context: SeedContext | None,
    callbacks: Callbackable,
    there: list[Path],
) -> Generator[None, None, Run]:
    """The run itself; there: gets its folder as soon as it can be resumed."""
    clock, source = Clock(), None if isinstance(env, str) else env
    if old is not None and (result := finished(old, builder)):
        done = f"finished at step {result['steps']:,}; go on with: swingup resume {old} --steps N"
        (context.console if context else console_of(options.quiet)).print(done)
        return Run(old, source, networks=builder.networks)
    with ExitStack() as stack:
        for name, word in named_objects(builder.config):
            trusted_modules.check(word, old or Path(builder.config.from_run or "settings"), name)
        of_all = context.stop if context else None
        stop = StopRequest(of_all) if of_all else stack.enter_context(stop_on_signals())
        # What may fail comes first: before JAX is imported and before there is a run folder.
        users = [*builder.callbacks(), *as_callbacks(callbacks)]
        builder.makers()
        trackers, remarks = trackers_of(options), builder.remarks()
        wanted = builder.environments(env, options, remarks, stop.raise_if_interrupted)
        envs = stack.enter_context(open_environments(wanted))
        builder.check(envs.spec)
        runtime.prepare(builder.threads, options.require_exact)
        start_jax()
        if builder.makers() is not None:
            builder.plan(envs.spec, envs.goals)  # tries them, before there is a folder
        begun = old is not None and has_checkpoint(old)
        start = None if begun else builder.start(envs.spec, envs.goals)
        folder = old or builder.new_folder(options)
        console = context.console if context else console_of(options.quiet)
        if old is None:
            run_folder.write_settings(folder, builder.settings, command)
            write_source(folder, source, envs.shared)
            text_file.write(folder / "machine.json", json.dumps(provenance(builder.threads), indent=2) + "\n")
            there.append(folder)
        if options.record and isinstance(envs.training, GymEnv):
            envs.training.envs[0] = Recorder(envs.training.envs[0], folder / "videos", cubic, console.print)
        if context is None:
            console.print(f"{builder.title} · {runtime.device_line(builder.threads)}")
            for line in builder.origins if old is None else ():
                console.print(f"  {line}")
        warn_of_threads(builder.threads, console.print)
        training, seen, logger = assemble(
            builder,
            envs,
            folder,
            options,
            console,
            stop,
            context,
            [clock, *trackers],
            users,
            stack,
            remarks,
            start,
        )
        if old is not None and run_folder.read_result(old).get("stopped"):
            stop.reason = ""  # it has stopped, and goes on because the user asks for it
        guard = training.checkpointer.guard
        stack.callback(training.callbacks.tell, "on_end", seen)
        if old is not None:  # only now: a run that cannot be resumed keeps its settings and its result
            guard(partial(run_folder.write_settings, folder, builder.settings, command), "config.json")
            guard(partial(write_source, folder, source, envs.shared), "factory.txt")
            (folder / "result.json").unlink(missing_ok=True)
        from swingup.training.trainer import train

        evaluation, result = (yield from train(training, seen)), {}
        if evaluation is not None:
            reason = {"stopped": stop.reason} if stop.reason else {}
            if envs.evaluation is None:
                reason["source"] = "training"
            result = figures(evaluation, folder, clock.seconds, training.loop.steps) | reason
            guard(partial(write_returns, folder / "closing.csv", evaluation), "closing.csv")
            guard(partial(text_file.write, folder / "result.json", json.dumps(result) + "\n"), "result.json")
            if options.record and envs.evaluation is not None and not envs.shared:
                film_closing(Run(folder, source, result, networks=builder.networks), logger, console.print)
        lost = training.checkpointer.lost()
    if lost and context is None:  # whatever --quiet says; a group says it of its seeds
        console_of(quiet=False).print(f"warning: {lost}")
    return Run(folder, source, result, lost, builder.networks)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has saved a checkpoint, whole or not."""
    where = folder / "ckpt"
    return where.is_dir() and bool(checkpoint_reader.steps(where))


class Clock(Callback):
    """The seconds of a run in all its processes, up to the checkpoint from which each was resumed."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def state(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        self.started -= float(state["seconds"])


def finished(old: Path, builder: RunBuilder) -> dict[str, Any]:
    """The result of a run that has spent the builder's budget; {} if there is something left to train."""
    try:
        run = Run(old)
        result = run.result
        closing_line(result, builder.env)  # not ours, if no closing line can be made of it
        same = RunBuilder(run.config).settings == builder.settings
        spent = result["steps"] >= builder.steps or (builder.settings["episodes"] is not None and same)
    except (InputError, LookupError, TypeError, ValueError):
        return {}
    return result if spent and "stopped" not in result else {}


def warn_of_threads(threads: int, warn: Callable[[str], None]) -> None:
    """Warn if JAX has started in this process with another number of threads: it cannot be changed."""
    if (used := runtime.threads_in_use(threads)) != threads:
        warn(
            f"warning: --threads {threads}: JAX has already started in this process with {used}, "
            f"so the run has {used}; start a new process, or train before anything else uses JAX"
        )


class KeptRemarks(Callback):
    """Keeps which remarks on environments were made, so that a resumed run does not repeat them."""

    def __init__(self, remarks: Remarks):
        self.remarks = remarks

    def state(self) -> dict[str, Any]:
        return {"said": sorted(self.remarks.made)} if self.remarks.made else {}

    def restore(self, state: dict[str, Any]) -> None:
        self.remarks.said.update(state["said"])
        self.remarks.made.update(state["said"])


def write_returns(path: Path, evaluation: Evaluation) -> None:
    """Write the return and the length of each episode of an evaluation as a table."""
    rows = zip(evaluation.returns, evaluation.lengths, strict=True)
    lines = [f"{k},{ret},{length}\n" for k, (ret, length) in enumerate(rows)]
    text_file.write(path, "".join(["episode,return,length\n", *lines]))


def film_closing(run: Run, logger: MetricsLogger, warn: Callable[[str], None]) -> None:
    """Film the first closing episode into videos/ and TensorBoard; one line where that fails."""
    from swingup.reports.gif import gif

    try:
        clip = run.film(1)[0]
        logger.write_picture("eval/video", *gif(clip.path))
    except Exception as error:
        why = " ".join(str(error).split())
        warn(f"warning: the closing evaluation was not filmed ({why:.300})")


def assemble(
    builder: RunBuilder,
    envs: Environments,
    folder: Path,
    options: Options,
    console: Any,
    stop: StopRequest,
    context: SeedContext | None,
    ours: Sequence[Callback],
    users: Sequence[Callback],
    stack: ExitStack,
    remarks: Remarks,
    start: Start | None = None,
) -> tuple[Training, RunContext, MetricsLogger]:
    """The parts of a run and its logger, new or restored from its newest checkpoint; `stack` closes them."""
    from swingup.loops.evaluation import can_restore_episodes
    from swingup.reports.metrics_logger import MetricsLogger
    from swingup.reports.stock_callbacks import CsvColumns
    from swingup.storage.disk import WriteGuard
    from swingup.training.callbacks import Callbacks
    from swingup.training.checkpointer import Checkpointer, newest
    from swingup.training.trainer import Training

    warn = console.print
    saved = newest(folder, lambda line: warn(f"warning: {line}"), not options.weights_only)
    if saved is not None:
        builder.held = demos_saved(saved.tensors)
    exact = builder.repeatable and can_restore_episodes(
        envs.stepped, builder.seed, pause=stop.raise_if_interrupted
    )
    loop = context.make_loop(builder, envs) if context else builder.loop(envs)
    loop.every = (*loop.every, *(user.every for user in users if user.every is not None))
    columns = [user for user in users if isinstance(user, CsvColumns)]
    logger, guard = MetricsLogger(folder, warn, loop, columns), WriteGuard(folder, warn)
    progress = [context.progress] if context else builder.progress(console)
    callbacks = Callbacks([*ours, logger, *progress, KeptRemarks(remarks)], users, warn)
    evaluator = builder.evaluator(loop, envs, folder, callbacks, stop, guard, remark=logger.remark)
    writer = stack.enter_context(closing(builder.checkpoint_writer(folder)))
    about: dict[str, Any] = {
        "can_restore_episodes": exact,
        "profile": builder.profile(),
        "settings": builder.learnt_from,
    }
    checkpointer = Checkpointer(writer, loop, evaluator, callbacks, guard, warn, **about)
    if saved is not None:
        warn(f"resumed at step {saved.step:,}: {checkpointer.restore(saved, options.require_exact)}")
    elif start is not None:
        loop.begin_with(start)
        checkpointer.save()  # what the run begins with may be gone or different when it is resumed
    remarks.said_with(lambda text: logger.remark("environment", text, loop.steps))
    training = Training(loop, builder.schedule(), callbacks, evaluator, checkpointer, stop)
    seen = RunContext(folder, builder.settings, loop, saved is not None, stop.end, warn)
    return training, seen, logger


def trackers_of(options: Options) -> list[Callback]:
    """The callbacks that report to a service; InputError where its package is missing."""
    if options.track is None:
        return []
    from swingup.reports.tracking import tracker

    return [tracker(options.track, options.track_project, options.track_entity)]


def start_jax() -> None:
    """Start JAX's backend; InputError, with JAX's reason, where there is no device that was asked for."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # an assertion where a platform's plugin is missing
        platforms = os.environ.get("JAX_PLATFORMS", "")
        why = " ".join(str(error).split())
        raise InputError(
            f"JAX_PLATFORMS={platforms}: JAX finds no such device here{why and f' ({why:.200})'}; "
            "unset the variable or install that device's JAX, for example pip install 'swingup[cuda]'"
        ) from error
