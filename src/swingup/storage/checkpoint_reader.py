"""Read a run's checkpoints: every byte is checked, nothing is executed, no symbolic link is followed."""

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
    checkpoint_path,
    read_manifest,
    read_piece,
    spans,
)

HOMES = ("segments", "mirror")


class Unloadable(InputError):
    """There are checkpoints, but none is whole; the command line exits with 3."""


class Checkpoint(NamedTuple):
    """What was saved at `step`.

    tensors by name; ring[C, N, W], zeros where nothing was added yet; added: the time steps ever added to it;
    about: the caller's JSON.
    """

    step: int
    tensors: dict[str, np.ndarray]
    ring: np.ndarray | None
    added: int
    about: dict[str, Any]
    path: Path


def steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, oldest first; only `load` shows whether it is whole."""
    try:
        names = disk.calls.listdir(folder)
    except FileNotFoundError:
        return []
    found = [m for name in names if (m := NAME.fullmatch(name)) and m[2] != ".part"]
    return sorted({int(m[1]) for m in found if m[0] == checkpoint_path(Path(), int(m[1]), m[2] or "").name})


def read_learner(path: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    """The tensors, writable; Damaged unless their names, shapes and dtypes are those of the manifest."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    data = read_piece(path / LEARNER, manifest.learner)
    try:
        tensors = {name: value.copy() for name, value in parse(data).items()}
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise Damaged(
            f"{path / LEARNER}: not safetensors ({type(error).__name__}: {error!s:.100})"
        ) from error
    found = {name: (value.shape, value.dtype.name) for name, value in tensors.items()}
    wrong = sorted(
        n for n in found.keys() | manifest.tensors.keys() if found.get(n) != manifest.tensors.get(n)
    )
    if wrong:
        raise Damaged(
            f"{path / LEARNER}: {wrong[0]!r:.60} is not of the shape and dtype that the manifest gives"
        )
    return tensors


def read_ring(folder: Path, ring: Ring, added: int, warn: Callable[[str], None]) -> np.ndarray:
    """The ring, each piece from a whole one of its two copies; both are checked, damage is reported."""
    try:
        rows = np.zeros(ring.shape, ring.dtype)
    except (MemoryError, ValueError) as error:
        raise Damaged(f"{folder}: a ring of shape {ring.shape} does not fit into memory") from error
    bad: list[str] = []
    for (a, b), wanted in zip(spans(ring, added), ring.segments, strict=True):
        lines = []
        for home in HOMES:
            try:
                data = read_piece(folder / home / f"{wanted.sha256}.bin", wanted)
                rows[a:b] = np.frombuffer(data, ring.dtype).reshape(rows[a:b].shape)
            except Damaged as error:
                lines.append(str(error))
        if len(lines) == len(HOMES):
            raise Damaged(f"{lines[0]}; its copy in {HOMES[1]} is damaged too")
        bad += lines
    if bad:
        more = f" (and {len(bad) - 1} more like it)" if len(bad) > 1 else ""
        warn(f"{bad[0]}{more}; its copy is whole and was used, the next save repairs it")
    return rows


def read(path: Path, warn: Callable[[str], None], replay: bool = True) -> Checkpoint:
    """One checkpoint; Damaged if any byte differs from what was saved. replay: whether to read its ring."""
    manifest = read_manifest(path)
    tensors = read_learner(path, manifest)
    ring = read_ring(path.parent, manifest.ring, manifest.added, warn) if manifest.ring and replay else None
    return Checkpoint(manifest.step, tensors, ring, manifest.added, manifest.about, path)


def load(
    folder: Path, step: int | None = None, warn: Callable[[str], None] = print, replay: bool = True
) -> Checkpoint:
    """The newest checkpoint that is whole, or that of one step; nothing is changed and no lock is needed.

    replay: whether to read the ring, which must then be whole. warn: called with a line for each checkpoint
    that is not whole. Raises Unloadable if none is whole, InputError if there is none at all.
    """
    folder = Path(folder)
    tried: set[int] = set()
    lines: list[str] = []
    # Listed again each time: a run that is still writing may have removed one and published another.
    while left := {s for s in look(folder) if step in (None, s)} - tried:
        newest = max(left)
        tried.add(newest)
        paths = [checkpoint_path(folder, newest), checkpoint_path(folder, newest, ".old")]
        before = [stamp(path) for path in paths]
        found, said = attempt(paths, replay)
        after = [stamp(path) for path in paths]
        if after == before:
            lines += said
            for line in said:
                warn(line)
        elif found is None and any(after):
            tried.discard(newest)  # it was replaced while being read, which is not damage
        if found:
            return found
    if lines and step is not None:
        raise Unloadable(
            f"{folder}: the checkpoint of step {step} is not whole ({lines[0]}); "
            f"choose another of {look(folder)}"
        )
    if lines:
        raise Unloadable(
            f"{folder}: no checkpoint is whole ({lines[0]}); "
            "start the run anew, or restore the folder from a backup"
        )
    if there := look(folder):
        raise InputError(f"{folder}: no checkpoint of step {step}; there is {', '.join(map(str, there))}")
    raise InputError(f"{folder}: no checkpoint yet; is it the ckpt folder of a run that has saved one?")


def attempt(paths: list[Path], replay: bool) -> tuple[Checkpoint | None, list[str]]:
    """The first of these checkpoints that is whole, and a line for every damage found until then."""
    lines: list[str] = []
    for path in paths:
        try:
            return read(path, lines.append, replay), lines
        except Damaged as error:
            if os.path.lexists(path):
                lines.append(f"{error}; this checkpoint is not used")
    return None, lines


def stamp(path: Path) -> tuple[int, int] | None:
    """The inode and modification time, which change when a folder is replaced by another of its name."""
    try:
        about = os.lstat(path)
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


def look(folder: Path) -> list[int]:
    """`steps`; InputError if the folder cannot be read."""
    try:
        return steps(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror}); choose the ckpt folder of a run"
        ) from error
