"""Every fault that a run is promised to survive, in full: `python benchmarks/faults.py [PART] [--count N] [--env ENV]`.

Each part writes its figures into docs/results/reliability.csv and the page docs/reliability.md is made from that file
(`--render` makes it without running anything). Exits with 1 if a single case fails. The tests run a smaller draw of the same cases.

    kill       SIGKILL at random instants, inside saves too, then the end: the same bytes as the uninterrupted run
    saves      a save interrupted at its system calls; bits flipped in checkpoints, files cut
    cores      the same seed in fresh processes that see one core or two
    workers    environments' processes killed, raising, hanging
    contract   forty ways to break an environment's contract, at the first, second, sixth and 1001st step
    hostile    run folders made to execute, open or import something
    signals    SIGTERM in every phase of a run
    cost       what checkpoints and guards cost a run with a million transitions
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from faultcases import runs  # noqa: E402

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


PARTS: dict[str, Callable[[Wanted], Iterator[Row]]] = {"kill": kill}


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
            Row(r["part"], r["what"], int(r["cases"]), int(r["failures"]), float(r["seconds"]), r["command"], r["note"])
            for r in csv.DictReader(file)
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
                    f"{row.part}: {row.what}: {row.cases} cases, {row.failures} failed, {row.seconds:.0f} s; {row.note}", flush=True
                )
                record(row)
                failures += row.failures
    return int(failures > 0)


if __name__ == "__main__":
    raise SystemExit(main())
