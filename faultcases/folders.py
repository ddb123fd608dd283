"""Folders of runs and groups in which one file is a link, a pipe or empty; and models that are interrupted.

Each command must end, with its result or with one line and its exit code. Nothing outside is touched.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import swingup
from swingup.cli.main import run

SMALL = {"hidden": (8, 8), "batch": 16, "warmup": 60, "capacity": 2000, "eval_every": 60, "threads": 1}
SHORT = {**SMALL, "steps": 120, "eval_episodes": 1, "final_episodes": 1, "quiet": True}
SECONDS = 60  # after which a command counts as hanging; each takes a few


def group(folder: Path) -> Path:
    """A group of two seeds."""
    swingup.train("Pendulum-v1", seeds=2, run_dir=folder / "group", **SHORT)
    return folder / "group"


def files(folder: Path) -> list[str]:
    """The files of a folder and of those below it, by their path in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def command(*words: str) -> tuple[int, str, str]:
    """A command's exit code, what it printed on stderr, and what else is wrong with it."""

    def hang(number: int, frame: object) -> None:
        raise TimeoutError

    said, before = io.StringIO(), signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            return run(words), said.getvalue(), ""
    except BaseException as error:
        return -1, said.getvalue(), f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def trapped(sound: Path, work: Path, name: str, kind: str) -> str:
    """What goes wrong where a file of a group is a link out of it, or a pipe; empty if nothing does."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(sound, work / "group")
    path, outside = work / "group" / name, work / "outside"
    path.replace(outside)
    before = outside.read_bytes()
    path.symlink_to(outside) if kind == "link" else os.mkfifo(path)
    for words in (
        ("resume", str(work / "group"), "--steps", "180", "--quiet"),
        ("eval", str(work / "group")),
    ):
        code, said, wrong = command(*words)
        if wrong or code != 2 or said.count("\n") != 1:
            return f"{words[0]} with a {kind} at {name}: exit {code}, {wrong or said[-200:]}"
    return "" if outside.read_bytes() == before else f"{kind} at {name}: the file outside was changed"


def emptied(sound: Path, work: Path, name: str) -> str:
    """What goes wrong where a file of a run is empty and the run is resumed; empty if nothing does."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(sound / "seed-0", work / "run")
    (work / "run" / name).write_bytes(b"")
    code, said, wrong = command("resume", str(work / "run"), "--steps", "180", "--quiet")
    refused = code in (2, 3) and said.count("\n") >= 1 and "Traceback" not in said
    if wrong or not (code == 0 or refused):
        return f"{name} emptied: exit {code}, {wrong or said[-200:]}"
    if code == 0 and "logging stopped" in said:
        return f"{name} emptied: {said[-200:]}"
    return ""


def interrupts(count: int, seed: int = 0) -> list[str]:
    """What is wrong with a model after each of so many interrupts of `learn` at random instants."""
    # A process that a shell has started in the background ignores SIGINT, and would learn for ever.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return list(after_interrupts(count, random.Random(seed)))
    finally:
        signal.signal(signal.SIGINT, before)


def after_interrupts(count: int, draw: random.Random) -> Iterator[str]:
    """What is wrong after each interrupt."""
    small = {name: SMALL[name] for name in ("hidden", "batch", "warmup", "capacity", "threads")}
    model = swingup.DDPG("Pendulum-v1", **small).learn(100)
    for k in range(count):
        alarm = threading.Timer(draw.uniform(0.001, 0.05), os.kill, (os.getpid(), signal.SIGINT))
        interrupted = False
        try:
            alarm.start()
            model.learn(10**7)
        except KeyboardInterrupt:
            interrupted = True
        alarm.join()
        try:
            steps = model.loop.steps
            if not interrupted or model.predict(np.zeros(3))[0].shape != (1,):
                yield f"interrupt {k}: not raised, or no action"
            if model.learn(3).loop.steps < steps + 3:
                yield f"interrupt {k}: it does not go on"
        except Exception as error:
            yield f"interrupt {k}: {type(error).__name__}: {error}"
