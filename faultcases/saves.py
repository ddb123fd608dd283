"""What it takes to lose a checkpoint: `python faultcases/saves.py [INTERRUPTIONS [FLIPS [CUTS]]]`.

Saves are interrupted at their system calls (SIGKILL, errors, short writes, a disk that stays full), and files
of a checkpoint are damaged (one bit flipped, cut short). After each, what loads must be, to the last bit, a
state that was saved: the one before or the one being saved; where a segment and its copy are both damaged,
the newest that does not share it. Prints a markdown table and exits with 1 if a single case fails. Needs no
JAX. By default a save is interrupted at every one of its calls, else at a draw of them.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from swingup.storage import checkpoint_reader, checkpoint_writer, disk
from swingup.storage.checkpoint_reader import HOMES, Unloadable, load, steps
from swingup.storage.checkpoint_writer import Checkpoints
from swingup.storage.manifest import LEARNER, MANIFEST, checkpoint_path, read_manifest

C, N, W, ROW_BYTES = 37, 2, 5, 2 * 5 * 4
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
WRITES = ("write cut, then the rest", "write that says it took all", "disk full from there on")


def state(step: int, variant: int = 0) -> dict[str, Any]:
    """What a run has at a step: 11 time steps added for each, to a ring of 37 that wraps.

    A variant differs in its tensors.
    """
    added, rng = 11 * step, np.random.default_rng((step, variant))
    ring = np.zeros((C, N, W), np.float32)
    for t in range(max(0, added - C), added):
        ring[t % C] = np.random.default_rng(t).normal(size=(N, W))
    tensors = {
        "actor/0/w": rng.normal(size=(7, 9)).astype(np.float32),
        "step": np.uint32(step),
        "seen": rng.random(5) < 0.5,
        "odd": np.array([np.nan, -0.0, np.inf]),
    }
    return {
        "step": step,
        "tensors": tensors,
        "ring": ring,
        "added": added,
        "about": {"variant": variant, "best": -0.1},
    }


def same(found: checkpoint_reader.Checkpoint, wanted: dict[str, Any]) -> bool:
    """Equal to the last bit: shapes, dtypes, NaN and -0.0 too."""
    bits = lambda a: (np.shape(a), np.asarray(a).dtype.str, np.asarray(a).tobytes())
    arrays = {k: bits(v) for k, v in found.tensors.items()} == {
        k: bits(v) for k, v in wanted["tensors"].items()
    }
    ring = found.ring is not None and bits(found.ring) == bits(wanted["ring"])
    return (
        arrays
        and ring
        and (found.step, found.added, found.about) == (wanted["step"], wanted["added"], wanted["about"])
    )


class Faulty:
    """`os`, but the call number `at` goes wrong as `kind` says; faults of writing count writes only."""

    def __init__(self, kind: str, at: int):
        self.kind, self.at, self.seen = kind, at, 0

    def __getattr__(self, name: str) -> Any:
        def call(*args):
            self.seen += name == "write" or self.kind not in WRITES
            full = self.kind == WRITES[2] and self.seen > self.at and name in ("write", "mkdir")
            now = self.seen == self.at and (name == "write" or self.kind not in WRITES)
            return self.fail(name, args, full) if full or now else getattr(os, name)(*args)

        return call

    def fail(self, name: str, args: tuple, full: bool) -> Any:
        if full or self.kind in ERRORS:
            if name == "close":
                os.close(*args)
            code = ERRORS.get(self.kind, errno.ENOSPC)
            raise OSError(code, os.strerror(code))
        done = os.write(args[0], args[1][: len(args[1]) // 2]) if name == "write" else 0
        if self.kind == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        return len(args[1]) if self.kind == WRITES[1] else done


@contextlib.contextmanager
def faulty(kind: str, at: int):
    disk.calls = layer = Faulty(kind, at)
    try:
        yield layer
    finally:
        disk.calls = os


def prepare(folder: Path, last: int = 4) -> None:
    """A folder of checkpoints as a run leaves it: some removed already, step 2 the best."""
    with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints:
        for step in range(1, last + 1):
            checkpoints.save(**state(step), best=step == 2)


def whole(folder: Path, step: int, variant: int = 0) -> bool:
    """A save of `step` loads without a word, and nothing else is left."""
    lines: list[str] = []
    return same(load(folder, warn=lines.append), state(step, variant)) and not lines and tidy(folder)


def tidy(folder: Path) -> bool:
    """No hidden file, no segment that no checkpoint needs."""
    needed = {
        f"{p.sha256}.bin"
        for s in steps(folder)
        for p in read_manifest(checkpoint_path(folder, s)).ring.segments
    }
    left = [n for n in os.listdir(folder) if n.startswith(".") and n != ".lock"]
    return not left and all(set(os.listdir(folder / home)) == needed for home in HOMES)


def interrupt(folder: Path, new: dict[str, Any], kind: str, at: int) -> str | None:
    """Interrupt the save of a state onto a prepared folder; what went wrong, or None."""
    with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints, faulty(kind, at):
        try:
            checkpoints.save(**new)
            refused = False
        except OSError:
            refused = True
    lines: list[str] = []
    found = load(folder, warn=lines.append)
    if not same(found, new) and not (refused and same(found, state(4))):
        return "what loads is not what was saved"
    if lines:
        return f"a save that was {'refused' if refused else 'accepted'} left damage: {lines[0]}"
    if refused and kind in ERRORS and not tidy(folder):
        return "the refused save left something"
    if refused and kind == WRITES[0]:
        return "a write in two parts was not finished"
    with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints:
        checkpoints.save(**state(6))
    return None if whole(folder, 6) else "the next save is not whole"


def kill(folder: Path, new: dict[str, Any], at: int) -> str | None:
    """The same for a process that dies in the save."""
    if (child := os.fork()) == 0:
        with faulty("SIGKILL", at):
            Checkpoints(folder, keep=2).save(**new)
        os._exit(0)
    if os.WTERMSIG(os.waitpid(child, 0)[1]) != signal.SIGKILL:
        return "the process did not die"
    found = load(folder, warn=lambda line: None)
    if not same(found, new) and not same(found, state(4)):
        return "what loads was never saved"
    with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints:
        checkpoints.save(**state(6))
    return None if whole(folder, 6) else "the next save is not whole"


SAVES = {"new step": state(5), "same step again": state(4, variant=1)}


def cases(base: Path) -> list[tuple[str, str, int]]:
    """Every (save, kind, call): the save of a new step, and of a step that is there already."""
    found, folder = [], base.with_name("counted")
    for what, kind in itertools.product(SAVES, ("SIGKILL", *ERRORS, *WRITES)):
        shutil.copytree(base, folder)
        with contextlib.closing(Checkpoints(folder, keep=2)) as checkpoints, faulty(kind, 10**9) as layer:
            checkpoints.save(**SAVES[what])
        found += [(what, kind, at) for at in range(1, layer.seen + 1)]
        shutil.rmtree(folder)
    return found


def interruptions(number: int) -> list[tuple[str, str | None]]:
    """(fault, problem) of `number` interrupted saves."""
    done: list[tuple[str, str | None]] = []
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name) / "base")
        every = cases(Path(name) / "base")
        drawn = [every[i] for i in np.random.default_rng(0).permutation(len(every))]
        # By turns from each kind, so that a small number of cases holds all kinds too.
        turns = itertools.zip_longest(
            *([c for c in drawn if c[1] == kind] for kind in ("SIGKILL", *ERRORS, *WRITES))
        )
        for what, kind, at in [c for turn in turns for c in turn if c][:number]:
            folder = Path(name) / "case"
            shutil.copytree(Path(name) / "base", folder)
            problem = (
                kill(folder, SAVES[what], at)
                if kind == "SIGKILL"
                else interrupt(folder, SAVES[what], kind, at)
            )
            done.append((f"save interrupted: {kind}", problem and f"{what}, call {at}: {problem}"))
            shutil.rmtree(folder)
    return done


def files(folder: Path, step: int) -> dict[str, list[Path]]:
    """All files of a checkpoint by their kind."""
    names = [f"{p.sha256}.bin" for p in read_manifest(checkpoint_path(folder, step)).ring.segments]
    own = {name: [checkpoint_path(folder, step) / name] for name in (MANIFEST, LEARNER)}
    return own | {home: [folder / home / name for name in names] for home in HOMES}


def damage(folder: Path, kind: str, paths: list[Path], change) -> tuple[str, str | None]:
    """Damage one or two files of the newest checkpoint (5), and load.

    It must be named, and the newest that is whole be loaded.
    """
    before = [path.read_bytes() for path in paths]
    lines: list[str] = []
    shares = lambda s: any(
        p.sha256 == paths[0].stem for p in read_manifest(checkpoint_path(folder, s)).ring.segments
    )
    whole = (
        steps(folder)[:-1]
        if kind in (MANIFEST, LEARNER)
        else [s for s in steps(folder) if len(paths) == 1 or not shares(s)]
    )
    for path, data in zip(paths, before, strict=True):
        path.write_bytes(change(data))
    try:
        found = load(folder, warn=lines.append)
        problem = (
            None
            if whole and same(found, state(whole[-1]))
            else f"step {found.step} was loaded; whole are {whole}"
        )
    except Unloadable as error:
        problem = f"nothing was loaded ({error})" if whole else None
    if not any(str(paths[0]) in line for line in lines):
        problem = f"{paths[0]} was not named"
    for path, data in zip(paths, before, strict=True):
        path.write_bytes(data)
    return kind, problem


def damages(number: int, cut: bool, seed: int = 0) -> list[tuple[str, str | None]]:
    """(fault, problem) of `number` bits flipped or files cut, over the manifest, the learner.

    The segments and their mirror.
    """
    rng, done = np.random.default_rng(seed), []

    def change(data: bytes) -> bytes:
        at = int(rng.integers(len(data)))
        return (
            data[:at] if cut else data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
        )

    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), last=5)
        there = files(Path(name), 5)
        kinds = itertools.cycle([*there, "segment and its copy"])
        for kind in itertools.islice(kinds, number):
            both = kind not in there
            i = int(rng.integers(len(there[HOMES[0] if both else kind])))
            paths = [there[home][i] for home in HOMES] if both else [there[kind][i]]
            kind, problem = damage(Path(name), kind, paths, change)
            done.append((f"{'cut short' if cut else 'bit flipped'}: {kind}", problem))
        if not same(load(Path(name), warn=lambda line: None), state(5)):
            done.append(("damage", "loading changed a file"))
    return done


def main(interrupted: int = 10**6, flips: int = 1000, cuts: int = 200) -> int:
    checkpoint_writer.CHUNK_BYTES = 5 * ROW_BYTES
    start = time.perf_counter()
    done = interruptions(interrupted) + damages(flips, cut=False) + damages(cuts, cut=True, seed=1)
    total, bad = Counter(name for name, _ in done), Counter(name for name, problem in done if problem)
    print("| fault | cases | failed |\n|---|---|---|")
    for name, number in total.items():
        print(f"| {name} | {number} | {bad[name]} |")
    print(f"| all, in {time.perf_counter() - start:.0f} s | {len(done)} | {bad.total()} |")
    for name, problem in done:
        if problem:
            print(f"{name}: {problem}", file=sys.stderr)
    return int(bad.total() > 0)


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
