"""Several seeds of one training: a folder of ordinary runs, trained side by side.

Each run continues from the state of its folder, so starting a group and resuming one are the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swingup.config.settings import named_objects
from swingup.errors import EnvFault, InputError
from swingup.multiseed.processes import Pool, PoolMaker, ProcessPool, packed
from swingup.multiseed.seeds import Seeds, choose_mode
from swingup.multiseed.status import SeedConsole, SeedStatus, StatusCallback
from swingup.multiseed.table import StatusView, status_view
from swingup.reports.progress import console_of
from swingup.runs.group import Group
from swingup.runs.run import Run
from swingup.storage import checkpoint_reader, run_folder, text_file, trusted_modules
from swingup.training.build import RunBuilder
from swingup.training.environments import open_environments
from swingup.training.options import Options
from swingup.training.session import SeedContext, training_session
from swingup.training.signals import StopRequest, stop_on_signals


def train_seeds(
    builder: RunBuilder,
    env: Any,
    wanted: Seeds,
    options: Options,
    command: str,
    make_pool: PoolMaker | None = None,
) -> Group:
    """Train one run for each seed; errors in the settings are raised before a folder is made.

    make_pool: where they are trained, by default on this machine.
    """
    started = time.monotonic()
    if options.render:
        later = "train one seed, or afterwards: swingup watch RUN"
        raise InputError(f"--render: a window for each seed would be too many; {later}")
    mode = choose_mode(wanted.mode, builder.env, builder.settings["devices"], wanted.on)
    if mode == "process" and len(wanted.numbers) > 1 and not wanted.threads:
        builder = builder.replace(threads=1)  # on every machine, because the number decides the bits
    builders = [builder.replace(seed=seed) for seed in wanted.numbers]
    preflight(builder, env, options)
    if mode == "process":
        packed(builder.env, None if isinstance(env, str) else env)
    folder = builder.new_folder(options, f"{len(builders)}-seeds")
    for each in builders:
        (folder / f"seed-{each.seed}").mkdir()
        run_folder.write_settings(folder / f"seed-{each.seed}", each.settings)
    about = {
        "env": builder.env,
        "preset": builder.preset,
        "mode": mode,
        "seeds": list(wanted.numbers),
        "command": command,
    }
    about |= {"on": wanted.on} if wanted.on else {}
    text_file.write(folder / "group.json", json.dumps(about, indent=2) + "\n")
    group = Group(folder, None if isinstance(env, str) else env)
    return train_unfinished(group, options, command, make_pool, started=started)


def preflight(builder: RunBuilder, env: Any, options: Options) -> None:
    """Raise at once the errors that every seed would raise in its own process."""
    builder.callbacks()
    builder.makers()
    with open_environments(builder.environments(env, options)) as envs:
        builder.check(envs.spec)


def resume_seeds(
    folder: Path,
    steps: int | None,
    env: Any,
    options: Options,
    command: str,
    make_pool: PoolMaker | None = None,
) -> Group:
    """Continue every unfinished seed, or all seeds if `steps` is more than they were trained for."""
    return train_unfinished(Group(folder, env), options, command, make_pool, steps)


def train_unfinished(
    group: Group,
    options: Options,
    command: str,
    make_pool: PoolMaker | None = None,
    steps: int | None = None,
    started: float | None = None,
) -> Group:
    """Train the seeds of a group that are not at their end."""
    started = time.monotonic() if started is None else started
    builder = builder_of(group, group.seeds[0], steps)
    if group.env is None:
        for seed in group.seeds:  # each seed has its own settings file, which may have been edited
            assert Run(group.path(seed)).env
    seeds = [status_of(group, seed, builder.steps if steps is not None else None) for seed in group.seeds]
    todo = [seed for seed in seeds if seed.state != "done"]
    if steps is not None:
        lengthen(group, todo, steps)
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        console = console_of(options.quiet)
        view = stack.enter_context(closing(status_view(console, seeds, builder.steps)))
        if todo:
            count, how = side_by_side(group, todo, builder, make_pool)
            console.print(f"{builder.env} · preset {builder.preset} · {len(todo)} seeds, {how}")
            for line in builder.origins:
                console.print(f"  {line}")
            order = Order(options, command)
            if group.mode == "vmap":
                train_in_one_program(group, todo, order, stop, view)
            else:
                train_in_processes(group, todo, count, order, stop, view, make_pool)
    group.seconds = time.monotonic() - started
    group.failed = {seed.seed: seed.error for seed in seeds if seed.state == "failed"}
    console = console_of(quiet=False)
    if options.quiet:  # which hides what was said of them at their end
        for seed, why in group.failed.items():
            console.print(f"seed {seed}: failed: {why}")
    if todo and not group.unfinished:
        path = group.folder / "group.json"
        try:
            text_file.write(path, json.dumps({**group.about, "result": group.result}, indent=2) + "\n")
        except OSError as error:
            console.print(f"warning: {path}: {error.strerror}; the group's result was not saved")
    return group


def builder_of(group: Group, seed: int, steps: int | None = None) -> RunBuilder:
    """The run builder of the settings in a seed's folder, with a new budget if `steps` is given."""
    builder = RunBuilder(run_folder.read_config(group.path(seed)))
    return builder if steps is None else builder.longer(steps)


def lengthen(group: Group, seeds: list[SeedStatus], steps: int) -> None:
    """Write the new budget of all these seeds before training, so that an interrupted one is unfinished."""
    for seed in seeds:
        run_folder.write_settings(seed.folder, builder_of(group, seed.seed, steps).settings)
        (seed.folder / "result.json").unlink(missing_ok=True)


def status_of(group: Group, seed: int, steps: int | None) -> SeedStatus:
    """A seed's status from its folder; done, if it has a result and no more steps are asked for."""
    status = SeedStatus(seed, group.path(seed))
    result = Run(status.folder).result
    if result and (steps is None or result["steps"] >= steps):
        status.set_ended(Run(status.folder))
    return status


@dataclass(frozen=True)
class Order:
    """What every seed receives: the options, and the command that is recorded."""

    options: Options
    command: str


def train_in_processes(
    group: Group,
    todo: list[SeedStatus],
    count: int,
    order: Order,
    stop: StopRequest,
    view: StatusView,
    make_pool: PoolMaker | None,
) -> None:
    """Train in processes, `count` at a time: of this machine, or of the pool that `make_pool` makes."""
    builder, env = builder_of(group, todo[0].seed), packed(group.about["env"], group.env)
    if make_pool is None:
        pool: Pool = ProcessPool(count, env, group.folder / "output.txt", view.say)
    else:
        pool = make_pool(count, builder.threads, env, group.folder, view.say)
    config = builder.config
    named = (config.env, *config.wrapper, *(word for _, word in named_objects(config)))
    message = {
        "command": order.command,
        "record": order.options.record,
        "exact": order.options.require_exact,
        "modules": trusted_modules.allowed(named),
    }
    pool.train(todo, message, stop, view.refresh)


def side_by_side(
    group: Group, todo: list[SeedStatus], builder: RunBuilder, make_pool: PoolMaker | None
) -> tuple[int, str]:
    """How many seeds are trained at a time, and how that is said."""
    if group.mode == "vmap":
        return len(todo), "in one program"
    if builder.settings["eval_env"] == "same":  # only one may exist
        return 1, "1 at a time"
    if make_pool is not None:
        return len(todo), f"on {group.about['on']}"
    count = seeds_at_a_time(todo, builder.threads)
    return count, f"{count} at a time"


def seeds_at_a_time(todo: list[SeedStatus], threads: int) -> int:
    """The number of seeds trained at a time: one per core, or per as many cores as a seed has threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(len(todo), max(cores // threads, 1))


def train_in_one_program(
    group: Group, todo: list[SeedStatus], order: Order, stop: StopRequest, view: StatusView
) -> None:
    """Train in this process: seeds at the same step in one program, one such set after the other."""
    from swingup.loops.vmapped import VmappedSeeds

    at: dict[int, list[SeedStatus]] = {}
    for seed in todo:
        where = seed.folder / "ckpt"
        step = max(checkpoint_reader.steps(where), default=0) if where.is_dir() else 0
        at.setdefault(step, []).append(seed)
    for _, seeds in sorted(at.items()):
        together = VmappedSeeds(len(seeds))
        make_loop = lambda builder, envs, device=together.add: builder.loop(envs, device=device)
        sessions = {seed.seed: session_of(seed, group, order, make_loop, stop, view) for seed in seeds}
        while sessions:
            for seed in seeds:
                if seed.seed in sessions and not take_turn(seed, sessions[seed.seed]):
                    del sessions[seed.seed]
                view.refresh()


def session_of(
    seed: SeedStatus,
    group: Group,
    order: Order,
    make_loop: Callable[..., Any],
    stop: StopRequest,
    view: StatusView,
) -> Generator[None, None, Run]:
    """A seed's run, as a generator that pauses before each computation."""
    builder = builder_of(group, seed.seed)
    options = replace(order.options, run_dir=seed.folder, quiet=True)
    context = SeedContext(SeedConsole(seed, view.say), StatusCallback(seed), stop, make_loop)
    return training_session(builder, group.env or builder.env, options, order.command, seed.folder, context)


def take_turn(seed: SeedStatus, session: Generator[None, None, Run]) -> bool:
    """Advance a seed's run by one computation; False if that was its last."""
    try:
        next(session)
        return True
    except StopIteration as end:
        seed.set_ended(end.value)
    except Exception as error:
        seed.set_failed(error)
    return False


def complete(group: Group) -> Group:
    """The group; KeyboardInterrupt if seeds are unfinished that did not fail, EnvFault if every seed failed.

    A group of which some seeds failed is returned: `group.failed` says why.
    """
    unfinished = group.unfinished
    if set(unfinished) - set(group.failed):
        raise KeyboardInterrupt(f"training stopped; go on with swingup.resume({str(group.folder)!r})")
    if len(unfinished) == len(group.seeds):
        first = unfinished[0]
        raise EnvFault(f"{group.folder}: every seed failed; seed {first}: {group.failed[first]}")
    return group
