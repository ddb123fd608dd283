"""Several seeds of one training, side by side."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from swingup.config.settings import Config, check
from swingup.errors import InputError
from swingup.multiseed.processes import Pool
from swingup.multiseed.seeds import Seeds, chosen
from swingup.multiseed.status import Member, Watch
from swingup.multiseed.table import Board, Events, board
from swingup.reports.progress import console_of
from swingup.runs.group import Group
from swingup.runs.run import Run
from swingup.storage import run_folder, text_file, trusted_modules
from swingup.training.build import enough_memory, fit, make_loop
from swingup.training.environments import make_envs
from swingup.training.options import Options
from swingup.training.session import Within, stages
from swingup.training.signals import Stop, interruptible


def train_seeds(config: Config, env: Any, wanted: Seeds, options: Options, command: str) -> Group:
    """Train one run for each seed; what is wrong with the settings is said before there is a folder."""
    started = time.monotonic()
    if options.render:
        raise InputError("--render: a window for each seed would be too many; train one seed, or afterwards: swingup watch RUN")
    mode = chosen(wanted.mode, config.env)
    if config.devices > 1 and mode == "vmap":
        raise InputError(
            f"--devices {config.devices}: several seeds in one program are not spread over devices; use --seeds-mode process"
        )
    if mode == "process" and len(wanted.numbers) > 1 and not wanted.threads:
        config = replace(config, threads=1)  # whatever the machine, as it decides the bits
    every = [check(replace(config, seed=seed)) for seed in wanted.numbers]
    preflight(config, env, options)
    folder = run_folder.new_folder(config, options.run_dir, f"{len(every)}-seeds")
    for each in every:
        (folder / f"seed-{each.seed}").mkdir()
        save_config(folder / f"seed-{each.seed}", each)
    about = {"env": config.env, "preset": config.preset, "mode": mode, "seeds": list(wanted.numbers), "command": command}
    text_file.write(folder / "group.json", json.dumps(about, indent=2) + "\n")
    return go_on(Group(folder, None if isinstance(env, str) else env), options, command, started=started)


def save_config(folder: Path, config: Config) -> None:
    text_file.write(folder / "config.json", json.dumps(asdict(config), indent=2) + "\n")


def preflight(config: Config, env: Any, options: Options) -> None:
    """Raise now what every seed would raise in its own process."""
    with ExitStack() as stack:
        envs = make_envs(config, env, options)
        for each in envs.hosts:
            stack.callback(each.close)
        fit(config, envs.testing.spec)
        enough_memory(config, envs.testing.spec.layout.width)


def resume_seeds(folder: Path, steps: int | None, env: Any, options: Options, command: str) -> Group:
    """Go on with every seed that is not finished, or with all of them where `steps` is more than they were meant for."""
    return go_on(Group(folder, env), options, command, steps)


def go_on(group: Group, options: Options, command: str, steps: int | None = None, started: float | None = None) -> Group:
    """Train those seeds of a group that are not at their end."""
    started = time.monotonic() if started is None else started
    config = run_folder.read_config(group.path(group.seeds[0]))
    if group.env is None:
        for seed in group.seeds:  # each has a file of its own, which any hand may have written
            trusted_modules.check(run_folder.read_config(group.path(seed)).env, group.path(seed))
    if steps is not None:
        config = check(replace(config, steps=steps))
    members = [member_of(group, seed, config.steps if steps is not None else None) for seed in group.seeds]
    todo = [m for m in members if m.state != "done"]
    if steps is not None:
        for member in todo:  # all of them now, so that one that is not reached before a stop is known to be unfinished
            save_config(member.folder, check(replace(run_folder.read_config(member.folder), steps=steps)))
            (member.folder / "result.json").unlink(missing_ok=True)
    with ExitStack() as stack:
        stop = stack.enter_context(interruptible())
        console = console_of(options.quiet)
        drive = together if group.mode == "vmap" else side_by_side
        view = stack.enter_context(closing(board(console, members, config.steps)))
        if todo:
            how = "in one program" if group.mode == "vmap" else f"{workers(todo, config)} at a time"
            console.print(f"{config.env} · preset {config.preset} · {len(todo)} seeds, {how}", markup=False)
            drive(group, todo, config, Order(options, command), stop, view)
    group.seconds = time.monotonic() - started
    group.failed = {m.seed: m.error for m in members if m.state == "failed"}
    if todo and not group.unfinished:
        text_file.write(group.folder / "group.json", json.dumps({**group.about, "result": group.result}, indent=2) + "\n")
    return group


def member_of(group: Group, seed: int, steps: int | None) -> Member:
    """A seed as its folder shows it; done, if it has its result and no more steps are asked for."""
    member = Member(seed, group.path(seed))
    result = Run(member.folder).result
    if result and (steps is None or result["steps"] >= steps):
        member.ended(Run(member.folder))
    return member


@dataclass(frozen=True)
class Order:
    """What all seeds are to know: how they show themselves, and the command that is written down."""

    options: Options
    command: str


def side_by_side(group: Group, todo: list[Member], config: Config, order: Order, stop: Stop, view: Board | Events) -> None:
    """In worker processes, one for each core (or for as many threads as a seed has)."""
    pool = Pool(workers(todo, config), group.env, group.folder / "output.txt", view.say)
    message = {
        "command": order.command,
        "record": order.options.record,
        "exact": order.options.require_exact,
    }
    pool.train(todo, message, stop, view.look)


def workers(todo: list[Member], config: Config) -> int:
    """Seeds that are trained at a time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(len(todo), max(cores // config.threads, 1))


def together(group: Group, todo: list[Member], config: Config, order: Order, stop: Stop, view: Board | Events) -> None:
    """In this process, in one program: those at the same step together, the others after them."""
    from swingup.loops.vmapped import Lanes
    from swingup.storage import checkpoint_reader

    at: dict[int, list[Member]] = {}
    for member in todo:
        place = member.folder / "ckpt"
        at.setdefault(max(checkpoint_reader.steps(place), default=0) if place.is_dir() else 0, []).append(member)
    for _, members in sorted(at.items()):
        lanes = Lanes(len(members))
        loop = partial(make_loop, device=lanes.lane)
        runs = {member.seed: run_of(member, group, order, loop, stop, view) for member in members}
        while runs:
            for member in members:
                if member.seed in runs and not advance(member, runs[member.seed]):
                    del runs[member.seed]
                view.look()


def run_of(
    member: Member, group: Group, order: Order, loop: Callable[..., Any], stop: Stop, view: Board | Events
) -> Generator[None, None, Run]:
    """A seed's run in stages."""
    config = run_folder.read_config(member.folder)
    options = replace(order.options, run_dir=member.folder, quiet=True)
    within = Within(Aloud(member, view), Watch(member), stop, loop)
    return stages(config, group.env or config.env, options, order.command, member.folder, within)


class Aloud:
    """A console that says whose line it is."""

    def __init__(self, member: Member, view: Board | Events):
        self.member, self.view = member, view

    def print(self, text: str) -> None:
        self.view.say(self.member, text)


def advance(member: Member, run: Generator[None, None, Run]) -> bool:
    """One stage of a seed's run; False where that was its last."""
    try:
        next(run)
        return True
    except StopIteration as end:
        member.ended(end.value)
    except Exception as error:
        member.failed(error)
    return False


def complete(group: Group) -> Group:
    """A group whose seeds are all trained, or KeyboardInterrupt. Seeds that failed are in `group.failed`."""
    if set(group.unfinished) - set(group.failed):
        raise KeyboardInterrupt(f"training stopped; go on with swingup.resume({str(group.folder)!r})")
    return group
