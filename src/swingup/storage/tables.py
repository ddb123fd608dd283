"""Append to, cut and read the CSV files of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from swingup.errors import InputError
from swingup.storage.text_file import write


def append_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a CSV file, with the header first if the file is new."""
    if not rows:
        return
    import csv

    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


def cut_csv(path: Path, step: int) -> None:
    """Drop the rows after `step`, and a last line that was only partly written."""
    if not path.exists():
        return
    header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    at = header.rstrip("\r\n").split(",").index("step")
    whole = [row for row in rows if row.endswith("\n")]
    kept = [row for row in whole if int(row.split(",")[at]) <= step]
    if len(kept) < len(rows):
        write(path, header + "".join(kept))


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
