"""Small text and JSON files of a run, written whole or not at all."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from swingup.errors import InputError
from swingup.storage.disk import Damaged, slurp

TEXT_BYTES = 1 << 20  # more than any settings or result


def write(path: Path, text: str) -> None:
    """Write a whole file or none of it: a reader never gets half."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name with no bytes
        os.replace(part, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError if it is not one, exceeds TEXT_BYTES or repeats a name.

    A link is not followed and a pipe not waited for.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a name is given twice")
        return found

    try:
        values = json.loads(slurp(path, TEXT_BYTES), object_pairs_hook=once)
    except (Damaged, ValueError, RecursionError) as error:
        why = str(error).removeprefix(f"{path}: ")
        raise InputError(
            f"{path}: cannot be read ({why:.200}); is {path.parent} the folder of a run?"
        ) from error
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: holds a {type(values).__name__}, not settings; is {path.parent} the folder of a run?"
        )
    return values
