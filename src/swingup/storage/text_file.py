"""Small text and JSON files of a run, written whole or not at all."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from swingup.errors import InputError

TEXT_BYTES = 1 << 20  # more than any settings or result


def write(path: Path, text: str) -> None:
    """Write a whole file or none of it: a reader never gets half."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text)
        os.replace(part, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError if it is not one, exceeds TEXT_BYTES or repeats a name."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a name is given twice")
        return found

    try:
        with path.open("rb") as file:
            text = file.read(TEXT_BYTES + 1)
        if len(text) > TEXT_BYTES:
            raise ValueError(f"more than {TEXT_BYTES >> 20} MiB")
        values = json.loads(text, object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({error!s:.200}); is {path.parent} the folder of a run?"
        ) from error
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: holds a {type(values).__name__}, not settings; is {path.parent} the folder of a run?"
        )
    return values
