"""All faults that a run must survive: `python benchmarks/faults.py [PART] [--count N] [--env ENV]`.

Each part writes its figures into docs/results/reliability.csv; docs/reliability.md is made from that file
(`--render` makes it without running anything). Exits with 1 if a single case fails. The tests run a smaller
sample of the same cases.

    kill       SIGKILL at random instants, inside saves too, then a resume: the uninterrupted run's bytes
    saves      a save interrupted at its system calls; bits flipped in checkpoints, files cut
    cores      the same seed in fresh processes that see one core or two
    workers    environments' processes killed, raising, hanging
    evaluating an evaluation whose environment raises, answers NaN, hangs or exits
    contract   forty ways to break an environment's contract, at the first, second, sixth and 1001st step
    starts     a start-up killed at each of its changes of the file system, and begun again
    folders    links, pipes and empty files at every place of a run's folder; interrupts of learn
    hostile    run folders made to execute, open or import something
    disks      the disk taken away under every writer of a run
    signals    SIGTERM in every phase of a run
    cost       what checkpoints and guards cost a run with a million transitions
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import faultcases.contracts  # noqa: E402
import faultcases.disks  # noqa: E402
import faultcases.evaluating  # noqa: E402
import faultcases.folders  # noqa: E402
import faultcases.hostile  # noqa: E402
import faultcases.saves  # noqa: E402
import faultcases.starts  # noqa: E402
import faultcases.troubled  # noqa: E402
from faultcases import runs  # noqa: E402
from swingup.storage import checkpoint_writer  # noqa: E402

RESULTS, PAGE = ROOT / "docs" / "results" / "reliability.csv", ROOT / "docs" / "reliability.md"
ENVS = ("Pendulum-v1", "Hopper-v5", "Ant-v5", "native/Pendulum-v1")


class Row(NamedTuple):
    """One line of the page: what was done, in how many cases, how many failed, and how to do it again."""

    part: str
    what: str
    cases: int
    failures: int
    seconds: float
    command: str
    note: str = ""


class Wanted(NamedTuple):
    """The arguments of a part."""

    env: str | None
    count: int | None
    folder: Path

    def command(self, part: str, env: str | None = None) -> str:
        more = f" --env {env}" if env else ""
        return f"python benchmarks/faults.py {part}{more}" + (f" --count {self.count}" if self.count else "")


def kill(wanted: Wanted) -> Iterator[Row]:
    """SIGKILL at random instants of small runs, `count` for each environment."""
    count = wanted.count or 25
    for env in [wanted.env] if wanted.env else ENVS:
        started, steps = time.monotonic(), 160 * count
        settings = runs.flags(steps=steps, warmup=200, capacity=1000, every=50, evaluate=1000)
        folder = wanted.folder / env.replace("/", ".")
        whole = folder.with_name(folder.name + ".whole")
        done = runs.swing("train", env, *settings, "--quiet", "--run-dir", whole)
        if done.returncode:
            raise SystemExit(f"{env}: the uninterrupted run failed: {done.stderr}")
        victim = runs.Killed(env, settings, folder, seed=len(env), steps=steps)
        while victim.kills < count and victim.kill(steps // count):
            pass
        end = victim.finish()
        odd = end.stderr if end.returncode else runs.differing(runs.final(folder), runs.final(whole))
        if odd:
            print(f"{env}: {odd}", file=sys.stderr)
        note = f"{victim.inside} within a save, {victim.early} while it started; " + (
            odd or f"{len(runs.final(whole))} digests equal"
        )
        seconds = time.monotonic() - started
        what = f"SIGKILL at random instants of {steps:,} steps of {env}"
        yield Row("kill", what, victim.kills, int(bool(odd)), seconds, wanted.command("kill", env), note)


def saves(wanted: Wanted) -> Iterator[Row]:
    """Interrupted saves and damaged files, on checkpoints alone."""
    checkpoint_writer.CHUNK_BYTES = 5 * faultcases.saves.ROW_BYTES
    work = {
        "a save interrupted at a system call (SIGKILL, ENOSPC, EIO, short writes)": lambda n: (
            faultcases.saves.interruptions(n or 10**6)
        ),
        "one bit of a checkpoint flipped": lambda n: faultcases.saves.damages(n or 1000, cut=False),
        "a file of a checkpoint cut short": lambda n: faultcases.saves.damages(n or 200, cut=True, seed=1),
    }
    for what, do in work.items():
        started = time.monotonic()
        done = do(wanted.count)
        bad = [f"{name}: {problem}" for name, problem in done if problem]
        yield Row(
            "saves",
            what,
            len(done),
            len(bad),
            time.monotonic() - started,
            wanted.command("saves"),
            "; ".join(bad[:3]),
        )


def cores(wanted: Wanted) -> Iterator[Row]:
    """The same seed in fresh processes; the first of them compiles, the others find its programs."""
    count, ends = wanted.count or 5, []
    for seen in (1, 2):
        started = time.monotonic()
        for k in range(count):
            folder = wanted.folder / f"{seen}-{k}"
            cache = {"XDG_CACHE_HOME": str(wanted.folder / f"cache{seen}")}
            args = ["train", "Pendulum-v1", *runs.flags(), "--quiet", "--run-dir", folder]
            done = runs.swing(*args, code=runs.SEEN.format(cores=seen), **cache)
            ends.append(runs.final(folder) if done.returncode == 0 else {"error": done.stderr})
        odd = [why for end in ends[-count:] if (why := runs.differing(end, ends[0]))]
        what = f"same seed, fresh process, {seen} core{'s' * (seen > 1)} visible"
        yield Row(
            "cores",
            what,
            count,
            len(odd),
            time.monotonic() - started,
            wanted.command("cores"),
            "; ".join(odd[:3]),
        )


def workers(wanted: Wanted) -> Iterator[Row]:
    """Worker processes that die, raise and hang in the middle of a step, against a run where they do not."""
    faultcases.troubled.write(wanted.folder)
    whole = wanted.folder / "whole"
    faultcases.troubled.train(whole, "none", 0)
    for kind, number in {"kill": 20, "raise": 20, "hang": 5}.items():
        started, count, folder = time.monotonic(), wanted.count or number, wanted.folder / kind
        done, troubles = faultcases.troubled.train(folder, kind, count)
        odd = done.stderr[-300:] if done.returncode else runs.differing(runs.final(folder), runs.final(whole))
        restarts = done.stderr.count("is started again")
        note = odd or f"{restarts} restarts, same bytes as the undisturbed run"
        failures = troubles if odd else count - troubles
        what = f"a worker's step made to {kind}"
        yield Row(
            "workers", what, troubles, failures, time.monotonic() - started, wanted.command("workers"), note
        )


def evaluating(wanted: Wanted) -> Iterator[Row]:
    """Faults in the middle of an evaluation: healed by worker processes, else named and resumed exactly."""
    sound = faultcases.evaluating.whole(wanted.folder)
    for kind in dict.fromkeys(kind for kind, *_ in faultcases.evaluating.CASES):
        started = time.monotonic()
        cases = [case for case in faultcases.evaluating.CASES if case[0] == kind][: wanted.count]
        bad = [f"{case}: {why}" for case in cases if (why := faultcases.evaluating.problem(sound, case))]
        yield Row(
            "evaluating",
            f"an evaluation made to {kind}" if kind != "nan" else "an evaluation that meets NaN",
            len(cases),
            len(bad),
            time.monotonic() - started,
            wanted.command("evaluating"),
            "; ".join(bad[:3]) or "healed, or named and resumed to the same bytes",
        )


def hostile(wanted: Wanted) -> Iterator[Row]:
    """Run folders that were made to do harm, through load, eval and resume under Python's audit hook."""
    started, names = time.monotonic(), list(faultcases.hostile.CASES)[: wanted.count]
    sound, work = wanted.folder / "sound", wanted.folder / "work"
    work.mkdir()
    settings = runs.flags(
        steps=300, warmup=100, capacity=100, every=100, evaluate=100, more="final-episodes=1"
    )
    runs.swing("train", "Pendulum-v1", *settings, "--quiet", "--run-dir", sound)
    command = [sys.executable, str(faultcases.hostile.__file__), str(sound), str(work), *names]
    done = subprocess.run(command, capture_output=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    bad = [f"{f['case']}: {why}" for f in found if (why := faultcases.hostile.verdict(f))]
    bad += [f"{name}: not reached, {done.stderr[-200:]}" for name in names[len(found) :]]
    refused = sum(any(said["code"] for said in f["said"].values()) for f in found)
    note = (
        "; ".join(bad[:3])
        or f"{refused} refused in one line, {len(found) - refused} repaired or passed over with a warning"
    )
    yield Row(
        "hostile",
        "hostile files in a run's folder",
        len(names),
        len(bad),
        time.monotonic() - started,
        wanted.command("hostile"),
        note,
    )


def disks(wanted: Wanted) -> Iterator[Row]:
    """Full disks and limited files under each writer: the run ends, whole or with a word on what is lost."""
    started, names = time.monotonic(), list(faultcases.disks.CASES)[: wanted.count]
    found, ended = faultcases.disks.run(wanted.folder, names)
    bad = [f"{f['case']}: {why}" for f in found if (why := faultcases.disks.verdict(f))]
    bad += [f"{name}: hangs or crashes, {ended[-200:]}" for name in names[len(found) :]]
    loud = sum(f["code"] == 1 for f in found)
    note = (
        "; ".join(bad[:3]) or f"{len(found) - loud} lost nothing, {loud} said what was not saved; none hangs"
    )
    what = "the disk taken away under a writer (ENOSPC, limited files)"
    yield Row("disks", what, len(names), len(bad), time.monotonic() - started, wanted.command("disks"), note)


def starts(wanted: Wanted) -> Iterator[Row]:
    """A start-up killed at each of its first changes of the file system, then the same command line."""
    started, cases = time.monotonic(), faultcases.starts.CASES[: wanted.count]
    found = [(case, faultcases.starts.problem(*case, wanted.folder / "run")) for case in cases]
    bad = [f"{case}: {why}" for case, why in found if why]
    what, note = "a start-up killed, the same line begins it", "; ".join(bad[:3]) or "each ran to its end"
    yield Row(
        "starts", what, len(cases), len(bad), time.monotonic() - started, wanted.command("starts"), note
    )


def folders(wanted: Wanted) -> Iterator[Row]:
    """Links, pipes and empty files at every place of a group's and a run's folder; interrupts of `learn`."""
    sound, work = faultcases.folders.group(wanted.folder), wanted.folder / "work"
    names, own = faultcases.folders.files(sound), faultcases.folders.files(sound / "seed-0")
    kinds: dict[str, list[Callable[[], str]]] = {
        f"a {kind} at each file of a group, resumed and evaluated": [
            partial(faultcases.folders.trapped, sound, work, name, kind) for name in names
        ]
        for kind in ("link", "pipe")
    }
    kinds["each file of a run emptied, then resumed"] = [
        partial(faultcases.folders.emptied, sound, work, name) for name in own
    ]
    for what, cases in kinds.items():
        started, chosen = time.monotonic(), cases[: wanted.count]
        bad = [why for case in chosen if (why := case())]
        note = "; ".join(bad[:3]) or "refused in one line, or resumed"
        spent = time.monotonic() - started
        yield Row("folders", what, len(chosen), len(bad), spent, wanted.command("folders"), note)
    started, count = time.monotonic(), wanted.count or 100
    bad = faultcases.folders.interrupts(count)
    what, note = (
        "DDPG.learn interrupted at random instants",
        "; ".join(bad[:3]) or "acts and goes on learning",
    )
    spent = time.monotonic() - started
    yield Row("folders", what, count, len(bad), spent, wanted.command("folders"), note)


# How many signals arrive in each phase, and among how many of its calls they are drawn.
SIGNALS = {
    "collect": (7, 300), "update": (7, 300), "compile": (1, 1), "compiled": (4, 4), "episode": (8, 390),
    "evaluation": (2, 2), "save": (5, 5), "write": (6, 12), "policy": (3, 3), "video": (5, 250),
    "encode": (4, 200),
}  # fmt: skip


def signals(wanted: Wanted) -> Iterator[Row]:
    """SIGTERM in every phase: a durable checkpoint in five seconds, exit 75, the same end when resumed."""
    settings = [*runs.flags(steps=300, warmup=100, capacity=100, every=100, evaluate=100), "--quiet"]
    whole = wanted.folder / "whole"
    runs.swing("train", "Pendulum-v1", *settings, "--run-dir", whole)
    expected, draw = runs.final(whole), random.Random(0)
    for phase, (number, calls) in SIGNALS.items():
        started, bad, slowest = time.monotonic(), [], 0.0
        instants = sorted(draw.sample(range(1, calls + 1), min(wanted.count or number, number, calls)))
        for when in instants:
            folder = wanted.folder / f"{phase}{when}"
            args = [
                "train",
                "Pendulum-v1",
                *settings,
                *(["--record"] if phase in ("video", "encode") else []),
            ]
            done, seconds = runs.signalled(phase, when, folder, args)
            after = runs.swing("resume", folder, "--quiet", "--require-exact")
            slowest = max(slowest, seconds.get("durable", 99.0))
            if done.returncode != 75 or seconds.get("durable", 99.0) > 5:
                bad.append(f"call {when}: exit {done.returncode}, durable after {seconds.get('durable')} s")
            elif after.returncode or (odd := runs.differing(runs.final(folder), expected)):
                bad.append(f"call {when}: {after.stderr[-200:] if after.returncode else odd}")
        note = "; ".join(bad[:3]) or f"at most {slowest:.2f} s to the durable checkpoint"
        what = f"SIGTERM in phase {phase}"
        yield Row(
            "signals",
            what,
            len(instants),
            len(bad),
            time.monotonic() - started,
            wanted.command("signals"),
            note,
        )


def contract(wanted: Wanted) -> Iterator[Row]:
    """Every mutant in a real loop: refused with the field named, and replay has not seen the step."""
    loop, message = faultcases.contracts.loop(), ""
    for when in (0, 1, 5, 1000):
        started, bad = time.monotonic(), []
        for name in list(faultcases.contracts.MUTANTS)[: wanted.count]:
            if message := faultcases.contracts.refused(loop, name, when):
                bad.append(f"{name}: {message}")
        cases, seconds = len(list(faultcases.contracts.MUTANTS)[: wanted.count]), time.monotonic() - started
        yield Row(
            "contract",
            f"a broken contract at step {when}",
            cases,
            len(bad),
            seconds,
            wanted.command("contract"),
            "; ".join(bad[:3]),
        )


def trained(folder: Path, capacity: int) -> tuple[Any, Any]:
    """A loop of HalfCheetah-v5 with its preset, its replay full, and what saves it."""
    import jax.numpy as jnp

    from swingup import runtime
    from swingup.config.presets import base
    from swingup.core.replay_buffer import Replay
    from swingup.reports.metrics_logger import MetricsLogger
    from swingup.storage.disk import WriteGuard
    from swingup.training.build import RunBuilder
    from swingup.training.callbacks import Callbacks
    from swingup.training.checkpointer import Checkpointer
    from swingup.training.environments import open_environments
    from swingup.training.options import Options
    from swingup.training.signals import StopRequest

    builder = RunBuilder(replace(base("HalfCheetah-v5"), capacity=capacity, block=1))
    runtime.prepare(builder.threads)
    envs = open_environments(builder.environments(builder.env, Options(quiet=True))).__enter__()
    loop: Any = builder.loop(envs)
    rows = np.random.default_rng(0).normal(size=loop.state.replay.rows.shape).astype(np.float32)
    loop.state = loop.state._replace(replay=Replay(jnp.array(rows), jnp.int32(len(rows))))
    loop.filled = len(rows)
    folder.mkdir(parents=True)
    callbacks, guard = Callbacks([MetricsLogger(folder, print, loop)], (), print), WriteGuard(folder, print)
    evaluator = builder.evaluator(loop, envs, folder, callbacks, StopRequest(), guard, remark=print)
    writer, profile = builder.checkpoint_writer(folder), builder.profile()
    parts = (writer, loop, evaluator, callbacks, guard, print)
    return loop, Checkpointer(*parts, can_restore_episodes=True, profile=profile, settings=builder.settings)


def ticks(loop: Any, number: int) -> float:
    """Seconds that so many iterations take."""
    started = time.perf_counter()
    for _ in range(number):
        loop.step()
    return time.perf_counter() - started


def quartiles(values: list[float], unit: str) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.2f}{unit} (quartiles {low:.2f} to {high:.2f}, {len(values)} rounds)"


def checkpoints(wanted: Wanted, every: int = 10_000, block: int = 500) -> Iterator[Row]:
    """A save and what it slows down after it, against as many steps without; `every` new rows per save."""
    import jax

    from swingup.core import replay_buffer

    started, rounds, shares, saving = time.monotonic(), wanted.count or 12, [], []
    loop, checkpointer = trained(wanted.folder / "run", 1_000_000)
    add = jax.jit(replay_buffer.add, donate_argnums=0)
    rows = np.zeros((block, 1, loop.plan.agent.layout.width), np.float32)
    ticks(loop, 100)
    begun = time.perf_counter()
    checkpointer.save()
    first = time.perf_counter() - begun
    for _ in range(rounds):
        plain = ticks(loop, block)
        for k in range(every // block - 2):
            loop.state = loop.state._replace(replay=add(loop.state.replay, rows + k))
        begun = time.perf_counter()
        checkpointer.save()
        saving.append(time.perf_counter() - begun)
        after = ticks(loop, block)
        shares.append(100 * (saving[-1] + after - plain) / (plain * every / block))
    note = (
        f"{quartiles(shares, ' %')} of the time of {every:,} steps; "
        f"a save {quartiles(saving, ' s')}, the first of a process {first:.1f} s"
    )
    what = "cost of a checkpoint every 10,000 steps, HalfCheetah-v5, replay of a million rows (at most 2 %)"
    yield Row(
        "cost",
        what,
        rounds,
        int(np.median(shares) >= 2),
        time.monotonic() - started,
        wanted.command("cost"),
        note,
    )


@contextlib.contextmanager
def unguarded() -> Iterator[None]:
    """Without the checks of what environments answer and of whether gradients are finite."""
    from swingup.core import agent
    from swingup.envs import gym_env

    with contextlib.ExitStack() as stack:
        put = lambda owner, name, value: stack.enter_context(mock.patch.object(owner, name, value))
        put(agent, "finite", lambda tree: np.True_)
        put(agent, "keep_if", lambda ok, tree: tree)
        put(gym_env, "check_array", lambda value, space, where, remark: value)
        put(gym_env, "check_finite", lambda obs, where: obs)
        put(gym_env, "check_outcome", unchecked)
        yield


def unchecked(result: Any, *_: object) -> tuple[Any, float, bool, bool, float]:
    """An environment's answer as the host loop takes it, believed."""
    from swingup.envs.api import success_of

    return result[0], float(result[1]), bool(result[2]), bool(result[3]), success_of(result[4])


def guards(wanted: Wanted, block: int = 200) -> Iterator[Row]:
    """The same steps with the guards and without them, by turns in one process."""
    started, rounds, shares = time.monotonic(), wanted.count or 25, []
    guarded, _ = trained(wanted.folder / "guarded", 100_000)
    ticks(guarded, block)
    with unguarded():
        bare, _ = trained(wanted.folder / "bare", 100_000)
        ticks(bare, block)
    for k in range(2 * rounds):
        with_them = ticks(guarded, block) if k % 2 else 0.0  # whoever comes first in a pair changes
        with unguarded():
            without = ticks(bare, block)
        with_them = with_them or ticks(guarded, block)
        shares.append(100 * (with_them / without - 1))
    what = "cost of the guards, HalfCheetah-v5 (at most 1 %)"
    note = f"{quartiles(shares, ' %')} of the time of a step"
    yield Row(
        "cost",
        what,
        len(shares),
        int(np.median(shares) >= 1),
        time.monotonic() - started,
        wanted.command("cost"),
        note,
    )


def cost(wanted: Wanted) -> Iterator[Row]:
    """What nothing being lost costs; meaningful on a machine that does nothing else."""
    yield from checkpoints(wanted)
    yield from guards(wanted)


PARTS: dict[str, Callable[[Wanted], Iterator[Row]]] = {
    "kill": kill,
    "saves": saves,
    "cores": cores,
    "workers": workers,
    "evaluating": evaluating,
    "hostile": hostile,
    "disks": disks,
    "starts": starts,
    "folders": folders,
    "signals": signals,
    "contract": contract,
    "cost": cost,
}


def record(row: Row) -> None:
    """Put a row in the place of the one for the same thing."""
    kept = [r for r in read() if (r.part, r.what) != (row.part, row.what)]
    order = list(PARTS)
    rows = sorted([*kept, row], key=lambda r: order.index(r.part))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(r._replace(seconds=round(r.seconds, 1)) for r in rows)


def read() -> list[Row]:
    """The rows so far."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return [
            Row(
                r["part"],
                r["what"],
                int(r["cases"]),
                int(r["failures"]),
                float(r["seconds"]),
                r["command"],
                r["note"],
            )
            for r in csv.DictReader(file)
        ]


PROMISES = {
    "kill": "A run that is killed goes on as if nothing had happened: "
    "weights, targets, optimizer, replay, counters and logs end in the same bytes",
    "saves": "A checkpoint is published whole or not at all; "
    "damage is detected and named, and the newest whole one is loaded",
    "cores": "The same seed gives the same bytes, in any process, on any number of visible cores",
    "workers": "An environment's process may die, raise or hang: "
    "its episode is played again, and the run ends in the same bytes",
    "evaluating": "A fault inside an evaluation costs no checkpoint: "
    "it is healed by worker processes, or named, and the run resumes to the same bytes",
    "hostile": "A run's folder is data: nothing in it is executed or imported, "
    "nothing outside it opened or written, and one line says why",
    "disks": "A full disk neither blocks nor ends a run: training goes on to the closing line, "
    "the last checkpoint is whole, or stderr and the exit code say that it is missing",
    "signals": "A run that is asked to stop leaves a durable checkpoint within five seconds "
    "and ends with 75; resumed, it ends in the same bytes",
    "contract": "A step that breaks the environment's contract is refused before replay, "
    "and the field is named",
    "starts": "A run that is killed while it starts is begun by the same command line",
    "folders": "What is not a plain file of ours is refused in one line, and an interrupt loses nothing",
    "cost": "What this costs",
}

INTRO = """# Reliability: faults injected into runs, and the results

Written by `python benchmarks/faults.py --render` from [results/reliability.csv](results/reliability.csv),
which the commands of the last column write; the random instants come from fixed seeds. The tests run a small
sample of each. Runs are small on purpose (networks of 16-16, thousands of steps, a save every 50 or 100), so
that a fault falls into every phase; "the same bytes" compares SHA-256 digests of every array of the last
checkpoint, of replay, policy and logs (without their clocks) with those of an undisturbed run.

Exactness holds on one kind of machine with one set of library versions: the resume names what differs.
SHA-256 shows that nothing has changed, not who wrote it. One thread of XLA and two give different bits, so
their number is a setting of the run and not a property of the machine.
"""


# What differs, what a resume says of it, and whether --require-exact goes on.
EXACT = [
    ("nothing", "`exact`", "goes on"),
    (
        "an environment whose observations, rewards or ends do not come back with its seed (`np.random` in "
        "`step`, statistics in a wrapper such as `NormalizeReward`)",
        "`episode-boundary`: a new episode begins",
        "refused",
    ),
    (
        "machine, versions, number of XLA's threads, XLA's flags",
        'each by name, "but on another machine"',
        "refused",
    ),
    (
        "a setting edited in between (`gamma`, rates ...)",
        'each by name, "but with other settings"',
        "refused",
    ),
    (
        "more `--steps` under falling step sizes or noise",
        'the line keeps its end (`schedule_steps`), "but with other settings"',
        "refused",
    ),
    ("more `--steps` otherwise, checkpoints kept, worker processes", "`exact`", "goes on"),
    ("replay lost (`--weights-only`)", "`weights-only`", "refused"),
]


def render() -> None:
    """The page, from the figures."""
    lines = [
        INTRO,
        "## What is called exact\n",
        "A run that is `exact` ends in the bytes of one never interrupted.\n",
    ]
    lines += ["| what differs | what a resume says | with `--require-exact` |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in EXACT] + [""]
    for part, promise in PROMISES.items():
        rows = [row for row in read() if row.part == part]
        lines += [f"## {part}\n\n{promise}.\n"]
        lines += [
            "| what was done | cases | failures | seconds | found | command |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r.what} | {r.cases} | {r.failures} | {r.seconds:.0f} | {r.note} | `{r.command}` |"
            for r in rows
        ]
        lines += [] if rows else ["| not measured yet | | | | | |"]
        lines += [""]
    PAGE.write_text("\n".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--env", help="kill: this environment only")
    parser.add_argument("--count", type=int, help="cases, instead of the part's own number")
    parser.add_argument("--render", action="store_true", help="only write the page")
    given = parser.parse_args()
    failures = 0
    for part in () if given.render else PARTS if given.part == "all" else (given.part,):
        with tempfile.TemporaryDirectory() as folder:
            os.environ.setdefault("XDG_STATE_HOME", folder)
            for row in PARTS[part](Wanted(given.env, given.count, Path(folder))):
                print(
                    f"{row.part}: {row.what}: {row.cases} cases, {row.failures} failed, "
                    f"{row.seconds:.0f} s; {row.note}",
                    flush=True,
                )
                record(row)
                failures += row.failures
    render()
    return int(failures > 0)


if __name__ == "__main__":
    raise SystemExit(main())
