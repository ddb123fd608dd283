"""Append to, cut and read the CSV files of a run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from swingup.errors import InputError
from swingup.storage.disk import cut, write_all


def append_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a CSV file, with the header first if the file is new or empty."""
    if not rows:
        return
    import csv

    text = io.StringIO()
    with path.open("ab", buffering=0) as file:
        writer = csv.DictWriter(text, list(rows[0]))
        if not file.tell():
            writer.writeheader()
        writer.writerows(rows)
        write_all(file, text.getvalue().encode())


def cut_csv(path: Path, rows: int) -> int:
    """Reduce a CSV file to its first `rows` rows, without a last line that was only partly written.

    Returns the number of rows that it has then: a file with fewer keeps them.
    """
    if not path.exists():
        return 0
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    kept = lines[: rows + 1]
    cut(path, sum(map(len, kept)))
    return max(len(kept) - 1, 0)


def column_names(path: Path) -> list[str]:
    """The columns of a CSV file; [] if it is missing or empty."""
    if not path.exists():
        return []
    import csv

    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def read_csv(path: Path) -> dict[str, np.ndarray]:
    """The columns of a CSV file of numbers, by name; {} if the file is missing or has no rows.

    Empty cells are NaN. InputError if a value is not a number.
    """
    import csv

    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {
            k: np.array([float(r[k]) if r[k] else np.nan for r in rows]) for k in (rows[0] if rows else {})
        }
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of numbers ({error!s:.200})") from error


def read_text_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as texts; [] if it is missing. InputError if it cannot be read."""
    import csv

    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: not a table ({error!s:.200})") from error
