"""The formats that a policy can be exported to, and the function that does it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from swingup.core.policy import Policy
from swingup.errors import InputError, nearest
from swingup.export import parity
from swingup.export.c_file import c_source
from swingup.export.js_file import javascript
from swingup.export.numpy_files import npz, python
from swingup.export.onnx_file import onnx_model
from swingup.export.program import Program, program

FormatName = Literal["onnx", "npz", "c", "js", "py"]


class Format(NamedTuple):
    """A format: how its bytes are made, and how a file of it is run to compare it with the policy."""

    make: Callable[[Program], bytes]
    run: parity.Runner


FORMATS: dict[str, Format] = {
    "onnx": Format(onnx_model, parity.run_onnx),
    "npz": Format(npz, parity.run_npz),
    "c": Format(c_source, parity.run_c),
    "js": Format(javascript, parity.run_javascript),
    "py": Format(python, parity.run_python),
}


def export(policy: Policy, path: str | Path, name: str) -> Path:
    """Write a policy as one file of this format; returns its path.

    InputError for an unknown format, a network that cannot be exported, a package that is missing or a file
    that cannot be written.
    """
    if name not in FORMATS:
        known = get_args(FormatName)
        fix = nearest(name, known) or f"; there are {', '.join(known)}"
        raise InputError(f"export --format {name}: no such format{fix}")
    path, data = Path(path), FORMATS[name].make(program(policy))
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: the policy cannot be written ({error.strerror})") from error
    return path


def examine(policy: Policy, path: Path, name: str) -> parity.Parity | str:
    """How an exported file compares with its policy, or why it could not be run here."""
    try:
        return parity.compare(policy, path, FORMATS[name].run)
    except parity.Missing as missing:
        return str(missing)
