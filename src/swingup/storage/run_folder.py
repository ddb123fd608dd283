"""The folder of a run: created, found and checked, with its settings."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from swingup.config.settings import Config, apply, check
from swingup.errors import InputError
from swingup.storage.text_file import read_json, write


def new_folder(run_dir: Path | None, label: str) -> Path:
    """Create the folder of a new run, `run_dir` or runs/{label}__{time}.

    InputError if it exists or cannot be created.
    """
    name = f"{label.replace(':', '.').replace('/', '.')}__{time.strftime('%Y%m%d-%H%M%S')}"
    path = run_dir or Path("runs") / name
    for attempt in [path] if run_dir else [path, *(path.with_name(f"{name}-{i}") for i in range(2, 100))]:
        try:
            attempt.mkdir(parents=True)
            return attempt
        except FileExistsError:
            continue
        except OSError as error:
            fix = "choose a folder that you may write to"
            raise InputError(f"--run-dir {attempt}: cannot be made ({error.strerror}); {fix}") from error
    raise InputError(f"--run-dir {path}: exists already; choose another, or remove it")


def write_settings(folder: Path, settings: dict[str, Any], command: str = "", append: bool = False) -> None:
    """Write config.json and, if one is given, the command that started the run.

    append: whether command.txt keeps the earlier commands of the run.
    """
    write(folder / "config.json", json.dumps(settings, indent=2) + "\n")
    path = folder / "command.txt"
    if command:
        write(path, (path.read_text() if append and path.exists() else "") + command + "\n")


def read_config(folder: Path) -> Config:
    """The settings in a run's config.json, checked."""
    path = folder / "config.json"
    return check(apply(Config(), read_json(path), str(path)))


def find_run(run: str | Path) -> Path:
    """The folder of a run; InputError with the reason if it is not one."""
    folder = Path(run)
    if not folder.is_dir():
        near = (
            sorted(Path("runs").glob("*"), key=lambda p: p.stat().st_mtime)[-1:]
            if Path("runs").is_dir()
            else []
        )
        raise InputError(
            f"{folder}: no such run folder; "
            f"{f'the newest is {near[0]}' if near else 'train one first: swingup train Pendulum-v1'}"
        )
    if (folder / "group.json").is_file():
        first = next(iter(sorted(folder.glob("seed-*"))), folder / "seed-0")
        raise InputError(
            f"{folder}: a group of runs, one for each seed; name one of them, for example {first}"
        )
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not the folder of a run, it has no config.json")
    if odd := stray(folder):
        raise InputError(
            f"{odd}: a link, pipe or device; a run's folder holds plain files only, "
            "put a copy there or remove it"
        )
    return folder


def stray(folder: Path) -> str | None:
    """The first entry of a folder that is neither a file nor a folder.

    It may lead out of the folder, and a resumed run would write there.
    """
    # A run in progress may remove an entry after it was listed.
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if inside := stray(Path(entry.path)):
                    return inside
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                return entry.path
    return None
