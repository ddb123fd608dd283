"""Write a run's checkpoints: each is published whole or not at all, and checked byte for byte when read.

    ckpt/step-0000010000/manifest.json         written last: counters; sha256, size, shape, dtype of the rest
    ckpt/step-0000010000/learner.safetensors   the tensors
    ckpt/segments/{sha256}.bin                 pieces of the replay ring, immutable, shared by checkpoints
    ckpt/mirror/{sha256}.bin                   a second copy: one bad byte must not damage every checkpoint
    ckpt/.step-*.part, .step-*.old             left by a killed save; being replaced by a repeated save

Files are plain JSON, safetensors and raw rows; reading executes nothing and follows no link. Needs no JAX.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import stat
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from swingup.errors import InputError
from swingup.storage import disk
from swingup.storage.checkpoint_reader import HOMES, steps
from swingup.storage.disk import Damaged
from swingup.storage.manifest import (
    DTYPES,
    FORMAT,
    LEARNER,
    MANIFEST,
    MANIFEST_BYTES,
    NAME,
    SHA,
    Manifest,
    Piece,
    Ring,
    checkpoint_path,
    read_manifest,
    read_piece,
    seal,
    spans,
)
from swingup.types import Array

CHUNK_BYTES = 4 << 20  # of the ring in one segment


class Written(NamedTuple):
    """The ring as the last save left it.

    edges: the first and last time step of each piece, which reveal a ring that was refilled since.
    """

    ring: Ring
    added: int
    edges: tuple[bytes, ...]


def plain(name: str, value: Any) -> np.ndarray:
    """A tensor as safetensors needs it: dense, C order, little-endian; others would be written wrongly."""
    array = np.asarray(value, order="C")
    if array.dtype.name not in DTYPES or name == "__metadata__":
        raise InputError(
            f"tensor {name!r}: {array.dtype.name} under that name cannot be saved; "
            f"use one of {', '.join(DTYPES)}"
        )
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def pieces(ring: Array) -> Ring:
    """How a ring is cut into segments: whole time steps, about CHUNK_BYTES in each."""
    kind = np.dtype(ring.dtype)
    if len(ring.shape) != 3 or 0 in ring.shape or kind.name not in DTYPES or kind.newbyteorder("<") != kind:
        raise InputError(
            f"ring: {kind} of shape {tuple(ring.shape)}; it must be rows[C, N, W] of numbers, "
            "and no axis of it empty"
        )
    row = math.prod(ring.shape[1:]) * kind.itemsize
    return Ring(tuple(map(int, ring.shape)), kind.name, max(1, CHUNK_BYTES // row), ())


def touched(a: int, b: int, length: int, old: int, new: int) -> bool:
    """Whether adding time steps `old` to `new` wrote into [a, b) of a ring of that length."""
    start, fresh = old % length, new - old
    if not 0 <= fresh < length:
        return True
    return fresh > 0 and (a < start + fresh - length or (a < start + fresh and start < b))


class Checkpoints:
    """The only writer of a run's checkpoints; the folder is locked until `close` or the process ends."""

    def __init__(self, folder: Path, keep: int = 3, every: int | None = None):
        """Keep the last `keep`, the best and multiples of `every`; InputError if the folder is locked."""
        if keep < 1 or (every is not None and every < 1):
            raise InputError(f"checkpoints: keep={keep}, every={every}; both must be at least 1")
        self.folder, self.keep, self.every = Path(folder), keep, every
        self._written: Written | None = None
        self._lock: int | None = disk.lock(self.folder)
        _open.add(self)

    def save(
        self,
        step: int,
        tensors: Mapping[str, Array],
        ring: Array | None,
        added: int,
        about: dict[str, Any],
        best: bool = False,
    ) -> Path:
        """Publish a checkpoint, durable on return; only what the ring gained since the last save is written.

        `ring` is sliced, never copied whole; the first save of a process reads all of it. `best` marks the
        best so far. OSError if the disk refuses: earlier checkpoints are still there, and loadable.
        """
        if self._lock is None:
            raise InputError(
                f"{self.folder}: closed, or opened by the process that started this one; nothing was saved"
            )
        step, added = int(step), int(added)
        if not 0 <= step < 10**18 or not 0 <= added < 2**63:
            raise InputError(f"checkpoint: step {step}, added {added}; both must be counts")
        arrays = {name: plain(name, value) for name, value in tensors.items()}
        cut = pieces(ring) if ring is not None else None
        try:
            if len(seal({"about": about})) > MANIFEST_BYTES // 2:
                raise ValueError("more than 32 MiB; data of that size belongs in tensors")
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"checkpoint: about cannot be saved ({error}); give numbers, texts, lists and dictionaries"
            ) from error
        with suppress(OSError):  # what a killed save left; if it cannot go now, the next save tries again
            self._sweep()
        try:
            written = self._store(ring, cut, added) if cut else None
            self._publish(
                step, added, arrays, written.ring if written else None, {"about": about, "best": best}
            )
        except BaseException:
            with suppress(OSError):
                self._sweep()
                self._collect()
            raise
        self._written = written
        for tidy in (lambda: self._retain(step), self._collect):
            with suppress(OSError):  # the new one is durable: the next save removes what cannot go now
                tidy()
        return checkpoint_path(self.folder, step)

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _store(self, ring: Array, cut: Ring, added: int) -> Written:
        """Make sure that both copies of every piece of the ring are on disk."""
        for home in HOMES:
            with suppress(FileExistsError):
                disk.calls.mkdir(self.folder / home)
        before = self._written if self._written and self._written.ring[:3] == cut[:3] else None
        old = spans(cut, before.added) if before else []
        found, edges = [], []
        for i, (a, b) in enumerate(spans(cut, added)):
            known, edge = None, np.asarray(ring[a]).tobytes() + np.asarray(ring[b - 1]).tobytes()
            # `added` tells where rows were written; the edges also reveal a ring refilled past that.
            if before and old[i : i + 1] == [(a, b)] and before.edges[i] == edge:
                known = None if touched(a, b, cut.shape[0], before.added, added) else before.ring.segments[i]
            found.append(known if known and self._holds(known) else self._keep(np.asarray(ring[a:b])))
            edges.append(edge)
        for home in HOMES:  # also if nothing was written: a killed save may have left names unflushed
            disk.sync(self.folder / home)
        return Written(cut._replace(segments=tuple(found)), added, tuple(edges))

    def _holds(self, piece: Piece) -> bool:
        """Whether both copies of a piece that this process wrote or read are still there, by their sizes."""
        try:
            there = [disk.calls.lstat(self.folder / home / f"{piece.sha256}.bin") for home in HOMES]
        except OSError:
            return False
        return all(stat.S_ISREG(t.st_mode) and t.st_size == piece.bytes for t in there)

    def _keep(self, rows: np.ndarray) -> Piece:
        """Write both copies of a piece; a file that exists is checked, and replaced if damaged."""
        data = np.ascontiguousarray(rows).data.cast("B")
        wanted = Piece(hashlib.sha256(data).hexdigest(), len(data))
        for home in HOMES:
            path = self.folder / home / f"{wanted.sha256}.bin"
            part = path.with_name(f".{wanted.sha256}.part")
            try:
                read_piece(path, wanted)
            except Damaged:
                disk.write(part, data)
                disk.calls.rename(part, path)
        return wanted

    def _publish(
        self, step: int, added: int, arrays: dict[str, np.ndarray], ring: Ring | None, more: dict[str, Any]
    ) -> None:
        """Write and flush the step's folder under a hidden name, then rename it: only then does it appear."""
        from safetensors.numpy import save as pack

        part, final, old = (checkpoint_path(self.folder, step, mark) for mark in (".part", "", ".old"))
        with suppress(Damaged):  # a step saved again, as the run was stopped there, stays the best if it was
            more["best"] = more["best"] or read_manifest(final).best
        learner = pack(arrays)
        digest = hashlib.sha256(learner).hexdigest()
        body = more | {
            "format": FORMAT,
            "step": step,
            "added": added,
            "files": {LEARNER: {"sha256": digest, "bytes": len(learner)}},
            "tensors": {
                name: {"shape": value.shape, "dtype": value.dtype.name} for name, value in arrays.items()
            },
            "ring": ring._asdict() | {"segments": [p._asdict() for p in ring.segments]} if ring else None,
        }
        disk.calls.mkdir(part)
        disk.write(part / LEARNER, learner)
        disk.write(part / MANIFEST, seal(body))
        disk.sync(part)
        if os.path.lexists(final):
            # No call replaces a folder. Between the two renames, `load` finds the old one by its hidden name.
            disk.calls.rename(final, old)
        disk.calls.rename(part, final)
        disk.sync(self.folder)

    def _sweep(self) -> None:
        """Remove what killed saves left, and finish or undo a replacement that one of them had started."""
        for name in disk.calls.listdir(self.folder):
            match = NAME.fullmatch(name)
            if (
                match
                and match[2] == ".old"
                and not os.path.lexists(checkpoint_path(self.folder, int(match[1])))
            ):
                disk.calls.rename(self.folder / name, checkpoint_path(self.folder, int(match[1])))
            elif match and match[2]:
                disk.sync(self.folder)
                disk.remove(self.folder / name)
        for home in HOMES:
            with suppress(FileNotFoundError):
                for name in disk.calls.listdir(self.folder / home):
                    if name.startswith(".") and name.endswith(".part"):
                        disk.calls.unlink(self.folder / home / name)

    def _manifests(self) -> tuple[dict[int, Manifest], bool]:
        """Every readable manifest by its step, and whether the unreadable ones are certainly worthless."""
        whole: dict[int, Manifest] = {}
        sure = True
        for step, mark in itertools.product(steps(self.folder), ("", ".old")):
            path = checkpoint_path(self.folder, step, mark)
            try:
                if os.path.lexists(path):
                    whole.setdefault(step, read_manifest(path))
            except Damaged as error:
                sure = sure and not error.unsure
        return whole, sure

    def _retain(self, step: int) -> None:
        """Remove checkpoints that no rule keeps.

        Those after `step`, of a run that went back to it, stay until the run passes them.
        """
        whole, _ = self._manifests()
        last = [s for s in whole if s <= step][-self.keep :]
        best = max((s for s, manifest in whole.items() if manifest.best), default=None)
        if not last or last[-1] != step:
            return  # what was just written cannot be read: delete nothing
        gone = [
            s
            for s in steps(self.folder)
            if s < last[0] and s != best and not (self.every and s % self.every == 0)
        ]
        for old in gone:  # hidden first: a half-deleted checkpoint never has a visible name
            disk.calls.rename(checkpoint_path(self.folder, old), checkpoint_path(self.folder, old, ".part"))
        self._sweep()

    def _collect(self) -> None:
        """Remove segments that no checkpoint refers to, unless one cannot be read now and may need them."""
        whole, sure = self._manifests()
        if not sure:
            return
        needed = {f"{p.sha256}.bin" for m in whole.values() if m.ring for p in m.ring.segments}
        for home in HOMES:
            with suppress(FileNotFoundError):
                for name in disk.calls.listdir(self.folder / home):
                    if name.endswith(".bin") and SHA.fullmatch(name[:-4]) and name not in needed:
                        disk.calls.unlink(self.folder / home / name)


_open: weakref.WeakSet[Checkpoints] = weakref.WeakSet()


def _forget() -> None:
    # A forked child process shares the lock and may outlive the run. Closing only gives up its share;
    # unlocking would release the lock of the run.
    for checkpoints in list(_open):
        checkpoints.close()


os.register_at_fork(after_in_child=_forget)
