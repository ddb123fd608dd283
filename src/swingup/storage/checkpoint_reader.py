"""Reading a run's checkpoints: every byte is checked, nothing is executed, no link is followed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from swingup.errors import InputError
from swingup.storage import disk
from swingup.storage.disk import Damaged
from swingup.storage.manifest import (
    LEARNER,
    NAME,
    Manifest,
    Ring,
    place,
    read_manifest,
    spans,
    take,
)

HOMES = ("segments", "mirror")


class Unloadable(InputError):
    """There are checkpoints, and not one of them is whole; the command line exits with 3."""


class Checkpoint(NamedTuple):
    """What was saved at `step`: tensors by name, the ring[C, N, W] with zeros where nothing was added yet, the time
    steps ever added to it, and the caller's JSON."""

    step: int
    tensors: dict[str, np.ndarray]
    ring: np.ndarray | None
    head: int
    about: dict[str, Any]
    path: Path


def steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, oldest first; only `load` says whether it is whole."""
    try:
        names = disk.calls.listdir(folder)
    except FileNotFoundError:
        return []
    found = [m for name in names if (m := NAME.fullmatch(name)) and m[2] != ".part"]
    return sorted({int(m[1]) for m in found if m[0] == place(Path(), int(m[1]), m[2] or "").name})


def read_learner(path: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    """The tensors, writable, with the names, shapes and dtypes that the manifest gives."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    data = take(path / LEARNER, manifest.learner)
    try:
        tensors = {name: value.copy() for name, value in parse(data).items()}
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise Damaged(f"{path / LEARNER}: not safetensors ({type(error).__name__}: {error!s:.100})") from error
    found = {name: (value.shape, value.dtype.name) for name, value in tensors.items()}
    wrong = sorted(n for n in found.keys() | manifest.tensors.keys() if found.get(n) != manifest.tensors.get(n))
    if wrong:
        raise Damaged(f"{path / LEARNER}: {wrong[0]!r:.60} is not of the shape and dtype that the manifest gives")
    return tensors


def read_ring(folder: Path, ring: Ring, head: int, warn: Callable[[str], None]) -> np.ndarray:
    """The ring from whichever of its two copies is whole, piece by piece; both are checked, and a bad one is named."""
    try:
        rows = np.zeros(ring.shape, ring.dtype)
    except (MemoryError, ValueError) as error:
        raise Damaged(f"{folder}: a ring of shape {ring.shape} does not fit into memory") from error
    bad: list[str] = []
    for (a, b), wanted in zip(spans(ring, head), ring.segments, strict=True):
        lines = []
        for home in HOMES:
            try:
                data = take(folder / home / f"{wanted.sha256}.bin", wanted)
                rows[a:b] = np.frombuffer(data, ring.dtype).reshape(rows[a:b].shape)
            except Damaged as error:
                lines.append(str(error))
        if len(lines) == len(HOMES):
            raise Damaged(f"{lines[0]}; and so is its copy in {HOMES[1]}")
        bad += lines
    if bad:
        more = f" (and {len(bad) - 1} more like it)" if len(bad) > 1 else ""
        warn(f"{bad[0]}{more}; its copy is whole and was used, the next save repairs it")
    return rows


def read(path: Path, warn: Callable[[str], None], replay: bool = True) -> Checkpoint:
    """One checkpoint, every byte checked; Damaged if anything differs from what was saved. replay: whether its ring is wanted."""
    manifest = read_manifest(path)
    tensors = read_learner(path, manifest)
    ring = read_ring(path.parent, manifest.ring, manifest.head, warn) if manifest.ring and replay else None
    return Checkpoint(manifest.step, tensors, ring, manifest.head, manifest.about, path)


def load(folder: Path, step: int | None = None, warn: Callable[[str], None] = print, replay: bool = True) -> Checkpoint:
    """The newest checkpoint that is whole, or that of one step; nothing is changed and no lock is needed.

    replay: whether its ring is wanted, and must be whole. `warn` gets a line for each one that is not whole. Unloadable if none is, InputError if there is none at all.
    """
    folder = Path(folder)
    tried: set[int] = set()
    lines: list[str] = []
    # Looked up anew each time: a run that goes on writing may have removed the one we meant to read, and published another.
    while left := {s for s in look(folder) if step in (None, s)} - tried:
        newest = max(left)
        tried.add(newest)
        paths = [place(folder, newest), place(folder, newest, ".old")]
        before = [stamp(path) for path in paths]
        found, said = attempt(paths, replay)
        after = [stamp(path) for path in paths]
        if after == before:
            lines += said
            for line in said:
                warn(line)
        elif found is None and any(after):
            tried.discard(newest)  # it was replaced under our eyes; what we missed is not damage
        if found:
            return found
    if lines and step is not None:
        raise Unloadable(f"{folder}: the checkpoint of step {step} is not whole ({lines[0]}); choose another of {look(folder)}")
    if lines:
        raise Unloadable(f"{folder}: no checkpoint is whole ({lines[0]}); start the run anew, or restore the folder from a backup")
    if there := look(folder):
        raise InputError(f"{folder}: no checkpoint of step {step}; there is {', '.join(map(str, there))}")
    raise InputError(f"{folder}: no checkpoint yet; is it the ckpt folder of a run that has saved one?")


def attempt(paths: list[Path], replay: bool) -> tuple[Checkpoint | None, list[str]]:
    """The first of these that is whole, and a line for everything bad that was seen on the way."""
    lines: list[str] = []
    for path in paths:
        try:
            return read(path, lines.append, replay), lines
        except Damaged as error:
            if os.path.lexists(path):
                lines.append(f"{error}; this checkpoint is not used")
    return None, lines


def stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a folder is replaced by another of its name."""
    try:
        about = os.lstat(path)
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


def look(folder: Path) -> list[int]:
    try:
        return steps(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); choose the ckpt folder of a run") from error
