"""Several seeds of one training: a folder of ordinary runs, trained side by side, and what they come to together."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from swingup import runtime
from swingup.board import Board, Events, board
from swingup.config.settings import Config, check, fit
from swingup.envs.registry import in_jax
from swingup.errors import InputError
from swingup.member import Member, Watch
from swingup.pool import Pool
from swingup.reports.progress import console_of
from swingup.run import Run
from swingup.stats import expanded, interval, iqm
from swingup.stop import Stop, interruptible
from swingup.storage import run_folder, text_file, trusted_modules
from swingup.training import Options, Within, enough_memory, make_envs, make_loop, stages

Mode = Literal["auto", "process", "vmap"]

# Seeds that one command may train.
MOST = 10_000


@dataclass(frozen=True)
class Seeds:
    """Which seeds, how they are trained, and whether a number of XLA's threads was asked for."""

    numbers: tuple[int, ...]
    mode: Mode = "auto"
    threads: bool = False


def numbers(text: str | int | Sequence[int]) -> tuple[int, ...]:
    """The seeds of `8` (0 to 7), `4:8` (4 to 7), `0,3,5` or a sequence; InputError where it is none of these."""
    wrong = InputError(f"--seeds {text}: expected a count (8), a range (0:8, without its end) or a list (0,3,5), each seed once")
    if isinstance(text, (str, int)):
        word = str(text)
        if not re.fullmatch(r"\d{1,10}|\d{1,10}:\d{1,10}|\d{1,10}(,\d{1,10})+,?|\d{1,10},", word):
            raise wrong
        first, _, end = word.rpartition(":")
        if "," not in word and int(end) - int(first or 0) > MOST:
            raise InputError(f"--seeds {word}: more than {MOST:,}; train them in several groups")
        found = [int(x) for x in word.split(",") if x] if "," in word else list(range(int(first or 0), int(end)))
    else:
        found = [int(x) for x in text]
    if not found or len(set(found)) < len(found) or min(found) < 0 or max(found) >= 2**32:
        raise wrong
    return tuple(found)


def mode_of(word: str) -> Mode:
    """That word as a mode; InputError where it is none."""
    for mode in get_args(Mode):
        if word == mode:
            return mode
    raise InputError(f"--seeds-mode {word}: expected {', '.join(get_args(Mode)[:-1])} or {get_args(Mode)[-1]}")


def chosen(mode: Mode, env: str) -> Mode:
    """How seeds are trained on this machine, where nobody says.

    On CPUs a process for each core: XLA computes one program of a process at a time on one thread, and its batched products
    are slower than plain ones (docs/performance.md). On an accelerator one program, which keeps it busy.
    """
    if mode == "vmap" and not in_jax(env):
        raise InputError(f"--seeds-mode vmap: {env} runs in Python; only environments in JAX (native/...) are compiled together")
    if mode != "auto":
        return mode
    return "vmap" if in_jax(env) and runtime.accelerated() else "process"


class Group:
    """A group's folder: `runs` in the order of their seeds, `result` over those that are done."""

    def __init__(self, folder: str | Path, env: Any = None, seconds: float = 0.0, failed: dict[int, str] | None = None):
        self.folder, self.env, self.seconds, self.failed = Path(folder), env, seconds, failed or {}
        try:
            self.about = json.loads((self.folder / "group.json").read_text())
            self.seeds = [int(seed) for seed in self.about["seeds"]]
            self.mode: Mode = mode_of(self.about["mode"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.folder / 'group.json'}: cannot be read ({error}); is it the folder of a group?") from error

    def __repr__(self) -> str:
        return f"Group({str(self.folder)!r})"

    def path(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"

    @property
    def runs(self) -> list[Run]:
        return [Run(self.path(seed), self.env) for seed in self.seeds]

    @property
    def unfinished(self) -> list[int]:
        """Seeds whose runs have no closing evaluation yet."""
        return [seed for seed in self.seeds if not (self.path(seed) / "result.json").exists()]

    @property
    def result(self) -> dict[str, Any]:
        """For machines: what `--json` prints."""
        results = {seed: run.result for seed, run in zip(self.seeds, self.runs, strict=True)}
        means = {seed: result["mean"] if result else None for seed, result in results.items()}
        failed = {"failed": {str(k): v for k, v in self.failed.items()}} if self.failed else {}
        return {**summary(means), **failed, "seconds": round(self.seconds, 2), "run": str(self.folder)}


def summary(means: dict[int, float | None]) -> dict[str, Any]:
    """Each seed's mean return, their interquartile mean and its bootstrap interval (as `swingup compare` has them)."""
    there = np.array([mean for mean in means.values() if mean is not None])
    ends = interval(there, expanded(len(there))) if len(there) > 1 else None
    return {
        "iqm": float(iqm(there)) if len(there) else None,
        "ci95": [float(end) for end in ends] if ends else None,
        "seeds": {str(seed): mean for seed, mean in means.items()},
    }


def is_group(folder: Path) -> bool:
    return (folder / "group.json").is_file()


def train(config: Config, env: Any, wanted: Seeds, options: Options, command: str) -> Group:
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


def resume(folder: Path, steps: int | None, env: Any, options: Options, command: str) -> Group:
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


def evaluate(group: Group, episodes: int, seed: int | None, best: bool, within: float | None) -> dict[str, Any]:
    """Greedy episodes of every seed's policy on fresh environments, as `Group.result` has the closing ones."""
    started = time.monotonic()
    means: dict[int, float | None] = {run.config.seed: run.evaluate(episodes, seed, best, within).mean for run in group.runs}
    return {**summary(means), "seconds": round(time.monotonic() - started, 2), "run": str(group.folder)}


def closing_lines(result: dict[str, Any], env: str) -> str:
    """A group's result for a person: a line over all seeds, and one for each."""
    seeds, done = result["seeds"], [x for x in result["seeds"].values() if x is not None]
    ends = f" (95 % interval {result['ci95'][0]:,.1f} to {result['ci95'][1]:,.1f})" if result["ci95"] else ""
    figure = f"interquartile mean {result['iqm']:,.1f}{ends}, " if done else ""
    count = f"{len(seeds)} seeds" if len(done) == len(seeds) else f"{len(done)} of {len(seeds)} seeds"
    head = f"{env}: {figure}{count} in {result['seconds']:.1f} s · {result['run']}"
    failed = result.get("failed", {})
    lines = [f"  seed {k}: {failed.get(k, 'not finished') if mean is None else f'{mean:,.1f}'}" for k, mean in seeds.items()]
    return "\n".join([head, *lines])


def resume_line(group: Group) -> str:
    return f"interrupted; go on with: swingup resume {shlex.quote(str(group.folder))}"
