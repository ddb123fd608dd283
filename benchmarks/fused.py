"""Steps per second of the fused loop: `python benchmarks/fused.py` writes tables into docs/results/fused.md.

The pendulum's settings with 256-256 networks and minibatch 64 on native/Pendulum-v1; XLA has one CPU thread.

Environments: N environments and one learner, one update per time step of all of them (`--envs N --updates
1/N`), as the cost of an update does not depend on N. `device` is the compiled chunk alone, a second or so
without a round trip to the host; `loop` adds what the host does with a chunk in training: checks, episodes,
rows for logs.

Seeds: S runs in one program (`--seeds S --seeds-mode vmap`), each with one environment and one update a step;
steps and updates are those of all seeds together.

Every figure is the best and the median of several chunks, after one that is not counted. Tables of other
devices in the file are kept.
"""

import platform
import statistics
import sys
import time
from pathlib import Path

from swingup import runtime

THREADS = 1
runtime.prepare(THREADS)

import jax  # noqa: E402
import numpy as np  # noqa: E402

from swingup.config.presets import base  # noqa: E402
from swingup.config.settings import apply, check  # noqa: E402
from swingup.envs.registry import find  # noqa: E402
from swingup.loops.fused import FusedLoop  # noqa: E402
from swingup.loops.vmapped import VmappedSeeds  # noqa: E402
from swingup.training.build import plan  # noqa: E402

ENV, TABLES = "native/Pendulum-v1", Path(__file__).parents[1] / "docs" / "results" / "fused.md"
ENVS, SEEDS, REPEATS = (1, 64, 1_024, 4_096), (1, 8, 64, 512), 5
# Updates in a chunk that is timed: a second or so on a CPU's core, less than that on a GPU.
UPDATES = 512


def loops(envs: int, seeds: int) -> list[FusedLoop]:
    """Fused loops past their warm-up; several seeds share one program."""
    settings = {
        "envs": envs,
        "updates": 1 / envs,
        "warmup": max(500, 4 * envs),
        "capacity": max(10_000, 100 * envs),
    }
    settings |= {"steps": 2**31 - 1, "hidden": (256, 256)}
    env = find(ENV)
    made_plan = plan(check(apply(base(ENV), settings, "benchmark")), env.spec)
    among = VmappedSeeds(seeds)
    made = [
        FusedLoop(made_plan, env, seed, **({"device": among.add} if seeds > 1 else {}))
        for seed in range(seeds)
    ]
    while made[0].done < made_plan.warmup_iterations:
        ahead(made)
    return made


def ahead(made: list[FusedLoop]) -> None:
    """One chunk of every loop, as in training: computed together, then reported one by one."""
    for loop in made:
        loop.compute_chunk()
        loop.computed.clear()


def measure(envs: int, seeds: int = 1) -> tuple[int, list[float], list[float]]:
    """Iterations of a chunk, seconds of the device for each chunk, and seconds with the host's part."""
    made = loops(envs, seeds)
    first = made[0].device
    count = min(first.length, max(UPDATES // seeds, 4))
    for loop in made:
        loop.device.length = count
    alone, whole = [], []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        for loop in made:
            jax.block_until_ready(loop.device.run(True, count))
        alone.append(time.perf_counter() - start)
        for loop in made:  # chunks that bypassed the host still count as done
            loop.done += count
        start = time.perf_counter()
        ahead(made)
        whole.append(time.perf_counter() - start)
    return count, alone[1:], whole[1:]


def rows(label: str, sizes: tuple[int, ...], seeds: bool) -> list[str]:
    """A table of those sizes, as lines of Markdown; prints each result when it is measured."""
    lines = [
        f"| {label} | steps/s, device, best | device, median | loop, best | loop, median | "
        "updates/s, device, median |",
        "|---|---|---|---|---|---|",
    ]
    for size in sizes:
        began = time.perf_counter()
        count, alone, whole = measure(1, size) if seeds else measure(size)
        steps = count * size
        rates = [steps / f(x) for x in (alone, whole) for f in (min, statistics.median)]
        updates = (steps if seeds else count) / statistics.median(alone)
        lines.append(
            "| " + " | ".join([f"{size:,}", *(f"{r:,.0f}" for r in rates), f"{updates:,.0f}"]) + " |"
        )
        print(
            f"{label} {size:,}: {rates[1]:,.0f} steps/s on the device "
            f"({time.perf_counter() - began:.0f} s to measure)",
            flush=True,
        )
    return lines


def device() -> str:
    """What this machine computes on, for a heading."""
    found = jax.devices()[0]
    if found.platform != "cpu":
        return found.device_kind
    return f"CPU: {runtime.cpu().rsplit(' ', 1)[0] or platform.processor()}, {THREADS} thread"


def save(section: list[str]) -> None:
    """Put a device's section into the file, in place of its old one."""
    text = TABLES.read_text() if TABLES.exists() else f"# The fused loop\n\n{__doc__}"
    head, *others = text.split("\n## ")
    kept = [other for other in others if other.splitlines()[0] != section[0]]
    TABLES.parent.mkdir(parents=True, exist_ok=True)
    TABLES.write_text(
        "\n## ".join([head.rstrip() + "\n", *(x.rstrip() + "\n" for x in kept), "\n".join(section)]) + "\n"
    )


def main() -> int:
    load = Path("/proc/loadavg")
    busy = f", load average {load.read_text().split()[0]} when it began" if load.exists() else ""
    about = f"jax {jax.__version__}, Python {platform.python_version()}, NumPy {np.__version__}{busy}."
    section = [device(), "", about]
    for label, sizes, seeds in (("environments", ENVS, False), ("seeds", SEEDS, True)):
        section += ["", *rows(label, sizes, seeds)]
        save(section)  # what is measured is kept, should the rest take too long
    print(f"written: {TABLES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
