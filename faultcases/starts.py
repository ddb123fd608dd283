"""Start-ups that are killed at their first changes of the file system; the same line then begins the run."""

from __future__ import annotations

import shutil
from pathlib import Path

from faultcases import runs
from swingup.storage.run_folder import read_result

TINY = [
    "--steps=40", "--warmup=10", "--hidden=8", "--batch=4", "--capacity=100", "--final-episodes=1",
    "--eval-episodes=1", "--eval-every=100", "--threads=1", "--quiet",
]  # fmt: skip
# The changes of a start-up, which are over before the first iteration: a run's, and those of two seeds.
CASES = [(at, ()) for at in range(1, 13)] + [(at, ("--seeds=2",)) for at in range(1, 10)]
KILLED = """
import os, sys
from swingup.cli.main import run
seen, at, folder = 0, int(sys.argv[1]), sys.argv[2]
def watch(event, args):
    global seen
    name = str(args[-2] if event == "os.rename" else args[0]) if args else ""
    if event in ("open", "os.mkdir", "os.rename") and name.startswith(folder):
        if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR):
            return
        seen += 1
        if seen == at:
            os._exit(9)
sys.addaudithook(watch)
os._exit(run(sys.argv[3:]))
"""


def problem(at: int, more: tuple[str, ...], folder: Path) -> str:
    """What goes wrong with a run that is killed at change number `at` and begun again; empty if nothing does.

    more: further words of the command line.
    """
    words = ["train", "Pendulum-v1", *TINY, *more, "--run-dir", str(folder), "--resume"]
    killed = runs.swing(at, folder, *words, code=KILLED)
    if killed.returncode != 9:
        return f"not killed: exit {killed.returncode}, {killed.stderr[-200:]}"
    done = runs.swing(*words)
    if done.returncode:
        return f"exit {done.returncode}: {done.stderr[-200:]}"
    if left := list(folder.glob("**/.*.part")):
        return f"left behind: {left}"
    ended = sorted(folder.glob("seed-*")) if more else [folder]
    steps = [read_result(path)["steps"] for path in ended]
    shutil.rmtree(folder)
    return "" if steps == [40] * (2 if more else 1) else f"steps {steps}"
