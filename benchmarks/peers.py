"""swingup beside other libraries: the same work on one machine, measured in turns, compared by ratios.

    python benchmarks/peers.py                    all, half an hour on two cores; writes docs/results/peers.md
    python benchmarks/peers.py w1 w1f --rounds 1  some of it, only printed

swingup is measured in the Python that runs this script; each of the others in a virtual environment of its
own, made on first use under --venvs (on Linux torch comes with gigabytes of CUDA unless --pip-args points pip
to a CPU build). Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from swingup.core.agent import Agent
from swingup.core.networks import Actor, Critic
from swingup.runtime import cpu
from swingup.tools.bench import flops

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "results"
PACKAGES = {
    "sb3": ("torch==2.13.0", "stable-baselines3==2.9.2", "gymnasium[mujoco]==1.4.0"),
    "sbx": ("torch==2.13.0", "sbx-rl==0.28.0", "gymnasium[mujoco]==1.4.0", "jax==0.10.2"),
    "rejax": ("rejax==0.1.3", "gymnax==0.0.9", "jax==0.10.2"),
}
NAMES = {
    "swingup": "swingup",
    "swingup-paper": "swingup, action at layer 2",
    "swingup-native": "swingup, native/",
    "sb3": "Stable-Baselines3",
    "sbx": "SBX",
    "rejax": "rejax",
}
NAMES |= {f"{name}-block": f"{NAMES[name]}, blocks of 50" for name in ("swingup", "sbx", "sb3")}
BLOCKS = ("swingup-block", "sbx-block", "sb3-block")
LOOPS = {
    "w1": ("swingup", "swingup-paper", "sbx", "sb3", *BLOCKS),
    "w2": ("swingup", "sbx", "sb3", *BLOCKS),
    "w1f": ("swingup", "rejax"),
}
STAND = ("swingup", "swingup-native", "rejax", "sbx", "sb3")
# How many times as long as swingup the others should take, each beside the swingup of as long a block.
GOALS = {
    ("w1", "sb3"): 3.3,
    ("w1", "sbx"): 1.6,
    ("w1", "sb3-block"): 4.0,
    ("w1", "sbx-block"): 1.5,
    ("w2", "sb3"): 2.4,
    ("w2", "sbx"): 1.4,
    ("w2", "sb3-block"): 2.6,
    ("w2", "sbx-block"): 1.4,
    ("w1f", "rejax"): 1.8,
}
# The whole step's share of what the products alone would take on all cores, in blocks of 50.
SHARES = {"w1": 0.75, "w2": 0.80}
TITLES = {
    "w1": "W1: Pendulum-v1 through Gymnasium, 400-300, minibatch 64, replay 10,000, one update a step",
    "w2": "W2: HalfCheetah-v5 through Gymnasium, 256-256, minibatch 256, replay 1,000,000, one update a step",
    "w1f": "W1f: TD3 on a pendulum in JAX, 400-300, minibatch 64, replay 10,000, fused",
}


def python(library: str, venvs: Path, pip_args: list[str]) -> str:
    """The Python in which a library is measured; made where it is not there yet."""
    if library.startswith("swingup"):
        return sys.executable
    library = library.removesuffix("-block")
    folder = venvs / library
    found = folder / "bin" / "python"
    if not found.exists():
        print(f"making {folder}: {' '.join(PACKAGES[library])}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        for package in PACKAGES[
            library
        ]:  # one after the other: a torch that is there already is not replaced
            subprocess.run([found, "-m", "pip", "install", "-q", *pip_args, package], check=True)
    return str(found)


def measure(library: str, work: str, interpreter: str, **more: str) -> dict[str, Any]:
    """One measurement in a fresh process."""
    command = [interpreter, str(HERE / "peer_work.py"), library, work]
    env = {**os.environ, "STARTED": repr(time.time()), **more}
    env.pop("PYTHONPATH", None) if not library.startswith("swingup") else None
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{library} {work}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def mflop(work: str) -> float:
    """The matrix products of one update of this work."""
    o, a, hidden, batch = {"w2": (17, 6, (256, 256), 256)}.get(work, (3, 1, (400, 300), 64))
    td3 = {"critics": 2, "delay": 2} if work == "w1f" else {}
    return flops(Agent(Actor(o, a, hidden), Critic(o, a, hidden, 1), None, batch=batch, **td3)) / 1e6


def spread(values: list[float], digits: int = 0) -> str:
    return " / ".join(f"{x:,.{digits}f}" for x in (min(values), statistics.median(values), max(values)))


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(r)} |" for r in rows), ""]


class Bench:
    """Runs measurements in turn and keeps what they gave: found[work][library] is a list of answers."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.found = args, {}
        ours = ("swingup", "swingup-paper", "swingup-native")
        every = (*ours, *PACKAGES, *BLOCKS)
        self.pythons = {x: python(x, args.venvs, args.pip_args.split()) for x in every}

    def take(self, work: str, library: str, label: str = "", **more: str) -> dict[str, Any]:
        answer = measure(library, more.pop("WORK", work), self.pythons[library], **more)
        self.found.setdefault(work, {}).setdefault(label or library, []).append(answer)
        shown = (
            statistics.median(answer["us"])
            if "us" in answer
            else {k: v for k, v in answer.items() if k != "rss_mb"}
        )
        print(f"{work:8} {label or library:16} {shown}", flush=True)
        return answer

    def loops(self, work: str) -> None:
        """Training loops in turn, beside the products' limit; swingup's cache is empty in the first round."""
        with tempfile.TemporaryDirectory() as cache:
            for _ in range(self.args.rounds):
                self.take(f"{work} limit", "swingup", "matmul", WORK="matmul")
                for library in LOOPS[work]:
                    own = {"XDG_CACHE_HOME": f"{cache}/{library}"} if library.startswith("swingup") else {}
                    self.take(work, library, **own)

    def updates(self, work: str) -> None:
        """The pure update, and what a core's products allow, in turn."""
        one = {"THREADS": "1"}
        for _ in range(self.args.rounds):
            self.take("matmul", "swingup", "one core", **one)
            self.take("matmul", "swingup", "all cores")
            self.take(work, "swingup", "swingup, one core", **one)
            for library in ("swingup", "sbx", "sb3"):
                self.take(work, library)

    def stand(self) -> None:
        """Seconds to a balanced pendulum; swingup's compilation cache is empty, then filled."""
        for seed in range(self.args.seeds):
            for library in STAND:
                cache = tempfile.mkdtemp()
                self.take("w3", library, f"{library} first", SEED=str(seed), XDG_CACHE_HOME=cache)
                if library.startswith("swingup"):
                    self.take("w3", library, f"{library} again", SEED=str(seed), XDG_CACHE_HOME=cache)
                shutil.rmtree(cache)


def memory(answers: list[dict[str, Any]], ours: bool) -> str:
    """Peak MB; of swingup with an empty cache and with one that is filled."""
    first, *later = (answer["rss_mb"] for answer in answers)
    return f"{first:,.0f} / {max(later):,.0f}" if ours and later else f"{max(first, *later, 0):,.0f}"


def loop_lines(work: str, found: dict[str, list[dict[str, Any]]], limits: list[dict[str, Any]]) -> list[str]:
    """The table of a training loop; limits: GFLOP/s of the products, measured in the same turns."""
    us = {k: statistics.median(x for answer in v for x in answer["us"]) for k, v in found.items()}
    rate = max(answer["w1" if work == "w1f" else work] for answer in limits)
    least, rows = mflop(work) / rate * 1e3, []
    for library in LOOPS[work]:
        same = "swingup-block" if library.endswith("-block") else "swingup"
        ratio, goal = us[library] / us[same], GOALS.get((work, library))
        words = f"{ratio:.2f}" + (
            f" (goal {goal}: {'reached' if ratio >= goal else '**missed**'})" if goal else ""
        )
        share, least_share = least / us[library], SHARES.get(work) if library == "swingup-block" else None
        shown = f"{share:.0%}" + (
            f" (goal {least_share:.0%}: {'reached' if share >= least_share else '**missed**'})"
            if least_share
            else ""
        )
        each = [x for answer in found[library] for x in answer["us"]]
        peak = memory(found[library], library.startswith("swingup"))
        rows.append([NAMES[library], spread(each), words, shown, peak])
    head = ["library", "µs per step min / median / max", "time / swingup's in blocks as long",
            "share of the products' limit", "peak MB (swingup: cache empty / filled)"]  # fmt: skip
    limit = (
        f"{mflop(work):,.0f} MFLOP of products an update, {rate:,.0f} GFLOP/s on all cores: {least:,.0f} µs."
    )
    return [f"## {TITLES[work]}", "", limit, "", *table(head, rows)]


def update_lines(work: str, found: dict[str, Any]) -> list[str]:
    name = "w" + work[-1]
    limit = {k: mflop(name) / max(a[name] for a in v) * 1e3 for k, v in found["matmul"].items()}
    rows = []
    for label, answers in found[work].items():
        one, many = ([x for a in answers for x in a[k]] for k in ("one", "many"))
        core = limit["one core"] if "one core" in label else limit["all cores"]
        share = (
            f"{core / statistics.median(one):.0%} / {core / statistics.median(many):.0%}"
            if "swingup" in label
            else ""
        )
        rows.append([NAMES.get(label, label), spread(one), spread(many), share])
    rates = ", ".join(f"{k} {max(a[name] for a in v):,.0f}" for k, v in found["matmul"].items())
    return [
        f"## The update alone, sizes of {name.upper()}", "",
        f"{mflop(name):,.0f} MFLOP of products; "
        f"XLA's product of the largest layer in a hot loop, GFLOP/s: {rates}.", "",
        *table(["library", "µs one by one", "µs in a loop",
                "share of the products' limit, one by one / in a loop"], rows),
    ]  # fmt: skip


def stand_lines(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    ours = statistics.median(a["seconds"] for a in found["swingup first"])
    rows = []
    for label, answers in found.items():
        library, _, when = label.rpartition(" ")
        reached = [a for a in answers if a["mean"] >= -200]
        seconds = [a["seconds"] for a in reached]
        when = (
            {"first": "empty cache", "again": "cache filled"}[when] if library.startswith("swingup") else ""
        )
        figures = [spread(seconds, 1), f"{statistics.median(seconds) / ours:.2f}"] if seconds else ["-", "-"]
        steps = ", ".join(f"{a['steps']:,}" for a in answers)
        rows.append([NAMES[library], when, f"{len(reached)} of {len(answers)}", *figures, steps])
    head = [
        "library",
        "",
        "seeds",
        "seconds min / median / max",
        "time / swingup's, empty cache",
        "steps of each seed",
    ]
    return [
        "## W3: seconds from process start to a greedy mean of -200 over 20 episodes of Pendulum-v1",
        "",
        *table(head, rows),
    ]


def page(found: dict[str, Any], rounds: int) -> str:
    lines = [
        "# Beside other libraries", "",
        f"Written by `python benchmarks/peers.py --rounds {rounds}`; "
        "every number of a table was taken in one run, the libraries in turn, each in a process of its own. "
        "Ratios are what counts: absolute times change with the machine and its neighbours.", "",
        f"Machine: {os.cpu_count()} cores, {cpu().rsplit(' ', 1)[0]}, "
        f"Python {platform.python_version()}. Versions: "
        + "; ".join(f"{k}: {', '.join(v)}" for k, v in PACKAGES.items()) + ".", "",
        "Training loops are each library's own `learn` (swingup: `train`, logs and files included), "
        "timed between calls of `env.step`; all have the same networks (the action joins at the first layer; "
        "but for one row of W1, which has the DDPG paper's critic, 139 MFLOP instead of 155) "
        "and use as many threads as they choose. In blocks of 50, a library collects 50 steps and then makes "
        "their 50 updates (swingup: `--block 50`; the others: `train_freq` and `gradient_steps` 50). "
        "The products' limit is what an update's matrix products alone would take at the speed of XLA's "
        "product of the largest layer, measured in the same turns. "
        "Peak memory has the whole replay resident.", "",
    ]  # fmt: skip
    for work in LOOPS:
        lines += loop_lines(work, found[work], found[f"{work} limit"]["matmul"]) if work in found else []
    for work in ("update1", "update2"):
        lines += update_lines(work, found) if work in found else []
    if "w3" in found:
        lines += stand_lines(found["w3"])
        lines += [
            "Settings: swingup's preset `pendulum`; RL Zoo's for Stable-Baselines3 and SBX, "
            "but learning from step 1,000 on rather than 10,000, which is in their favour; "
            "rejax's own for its pendulum. Looked at every 1,000 steps.", "",
        ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    works = (*LOOPS, "update1", "update2", "w3")
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join(works))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="of W3")
    parser.add_argument(
        "--venvs",
        type=Path,
        default=Path("runs/peers"),
        help="where the other libraries' environments are made",
    )
    parser.add_argument(
        "--pip-args", default="", help="for pip install, such as an index with a CPU build of torch"
    )
    args = parser.parse_args()
    if unknown := set(args.works) - set(works):
        parser.error(f"no such work: {', '.join(sorted(unknown))}")
    bench = Bench(args)
    print(f"load average {np.round(os.getloadavg(), 2)}")
    for work in args.works or works:
        bench.loops(work) if work in LOOPS else bench.stand() if work == "w3" else bench.updates(work)
    text = page(bench.found, args.rounds)
    print(text)
    if not args.works:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "peers.md").write_text(text)
        (RESULTS / "peers.json").write_text(json.dumps(bench.found) + "\n")


if __name__ == "__main__":
    main()
