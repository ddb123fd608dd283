"""manifest.json: the exact content of a checkpoint, checked field by field, as anyone may have written it.

Its seal, the sha256 of all the rest, shows that nothing changed by accident since it was written.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from swingup.storage import disk
from swingup.storage.disk import Damaged

FORMAT = 2  # format 1 used other tensor names
MANIFEST_BYTES = 64 << 20  # more than any real one: a wrong file is not read into memory
DTYPES = (
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)
LEARNER, MANIFEST = "learner.safetensors", "manifest.json"
NAME = re.compile(r"\.?step-([0-9]{10,18})(\.part|\.old)?")
SHA = re.compile(r"[0-9a-f]{64}")


class Piece(NamedTuple):
    """The sha256 and size of a file, as a manifest lists them."""

    sha256: str
    bytes: int


class Ring(NamedTuple):
    """A replay ring[C, N, W] in pieces of `chunk` time steps; the last one ends where the data does."""

    shape: tuple[int, ...]
    dtype: str
    chunk: int
    segments: tuple[Piece, ...]


class Manifest(NamedTuple):
    """The content of manifest.json, checked field by field."""

    step: int
    added: int
    best: bool
    about: dict[str, Any]
    learner: Piece
    tensors: dict[str, tuple[tuple[int, ...], str]]
    ring: Ring | None


def checkpoint_path(folder: Path, step: int, mark: str = "") -> Path:
    """The path of a step's checkpoint; `.part` and `.old` mark the hidden names beside it."""
    return folder / f"{'.' if mark else ''}step-{step:010d}{mark}"


def read_piece(path: Path, piece: Piece) -> bytes:
    """The bytes of a file; Damaged unless size and sha256 are those in the manifest."""
    data = disk.slurp(path, piece.bytes)
    if len(data) != piece.bytes:
        raise Damaged(f"{path}: cut short, {len(data)} of {piece.bytes} bytes")
    if hashlib.sha256(data).hexdigest() != piece.sha256:
        raise Damaged(
            f"{path}: its sha256 is not the manifest's, so its content has changed since it was saved"
        )
    return data


def seal(body: dict[str, Any]) -> bytes:
    """The only form of a manifest on disk: JSON with sorted keys and the sha256 of all the rest in it."""
    # Keys become strings now, or their order would differ when read again.
    plain = json.loads(json.dumps(body))
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return (json.dumps(plain | {"sha256": digest}, sort_keys=True, indent=1) + "\n").encode()


def read_manifest(path: Path) -> Manifest:
    """The manifest of a checkpoint folder; Damaged unless every byte is as `seal` wrote it."""
    file, name = path / MANIFEST, NAME.fullmatch(path.name)
    if path.is_symlink():
        raise Damaged(f"{path}: a symbolic link, not a folder")
    raw = disk.slurp(file, MANIFEST_BYTES)
    try:
        body = json.loads(raw)
        version = body["format"]
        if type(version) is int and version != FORMAT and version > 0:
            fix = (
                "update swingup"
                if version > FORMAT
                else "go on with the swingup that saved it, or train anew"
            )
            raise Damaged(
                f"{file}: format {version}, and this swingup reads format {FORMAT}; {fix}", unsure=True
            )
        # Bytes, not values: a flipped bit that keeps the value (1e-5, 1E-5) or a repeated name is damage too.
        if seal({k: v for k, v in body.items() if k != "sha256"}) != raw:
            raise Damaged(
                f"{file}: its own sha256 does not match, so its content has changed since it was saved"
            )
        manifest = understand(body)
        if name is None or manifest.step != int(name[1]):
            raise ValueError(f"it is of step {manifest.step}, its folder is not")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(
            f"{file}: not a manifest of swingup ({type(error).__name__}: {error!s:.100})"
        ) from error
    return manifest


def understand(body: dict[str, Any]) -> Manifest:
    """The Manifest in a file's JSON; KeyError, TypeError or ValueError if a field is not valid."""
    if set(body["files"]) != {LEARNER}:
        raise ValueError(f"its files are not just {LEARNER}")
    if type(body["about"]) is not dict or type(body["best"]) is not bool or body["format"] != FORMAT:
        raise TypeError("about, best or format")
    tensors = {str(name): (shape(t["shape"]), dtype(t["dtype"])) for name, t in body["tensors"].items()}
    added, ring = count(body["added"]), None
    if body["ring"] is not None:
        pieces = tuple(piece(p) for p in body["ring"]["segments"])
        ring = Ring(
            shape(body["ring"]["shape"]), dtype(body["ring"]["dtype"]), count(body["ring"]["chunk"]), pieces
        )
        if len(ring.shape) != 3 or 0 in ring.shape or ring.chunk == 0:
            raise ValueError(f"a ring of shape {ring.shape} in pieces of {ring.chunk}")
        # Checked before `spans`: a hostile count would make a list of 10^18.
        if -(-min(added, ring.shape[0]) // ring.chunk) != len(pieces):
            raise ValueError(f"{len(pieces)} segments do not hold {added} time steps of {ring.chunk} each")
        row = math.prod(ring.shape[1:]) * np.dtype(ring.dtype).itemsize
        if any(p.bytes != (b - a) * row for p, (a, b) in zip(pieces, spans(ring, added), strict=True)):
            raise ValueError("a segment's size does not match the ring's shape")
    return Manifest(
        count(body["step"]), added, body["best"], body["about"], piece(body["files"][LEARNER]), tensors, ring
    )


def count(value: Any) -> int:
    """The value, if it is an integer in [0, 2^63); else ValueError."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r:.40} is not a count")
    return value


def shape(value: Any) -> tuple[int, ...]:
    """A shape from its JSON list; TypeError or ValueError if it is not one."""
    if type(value) is not list or len(value) > 32:
        raise TypeError(f"{value!r:.40} is not a shape")
    return tuple(count(v) for v in value)


def dtype(value: Any) -> str:
    """The value, if it is one of DTYPES; else ValueError."""
    if value not in DTYPES:
        raise ValueError(f"{value!r:.40} is not a dtype")
    return value


def piece(value: Any) -> Piece:
    """A Piece from its JSON; ValueError if its sha256 or size is not valid."""
    # A segment's file name is made of this alone, so it cannot lead out of the folder.
    if type(value["sha256"]) is not str or not SHA.fullmatch(value["sha256"]):
        raise ValueError(f"{value['sha256']!r:.40} is not a sha256")
    return Piece(value["sha256"], count(value["bytes"]))


def spans(ring: Ring, added: int) -> list[tuple[int, int]]:
    """The time steps [start, stop) of the ring in each segment, over the part that holds data."""
    held = min(added, ring.shape[0])
    return [(a, min(a + ring.chunk, held)) for a in range(0, held, ring.chunk)]
