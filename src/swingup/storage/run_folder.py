"""What a run leaves on disk: its folder, its policies (safetensors, no pickle), and the way back in."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from swingup.config.settings import Config, apply, check
from swingup.errors import InputError
from swingup.storage.text_file import read_json, write


def new_folder(config: Config, run_dir: Path | None, label: str | None = None) -> Path:
    """Make the folder of a new run: `run_dir`, or runs/{env}__{preset}__{seed}__{time}. Refuses one that exists.

    label: stands in for the seed.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{config.env.replace(':', '.').replace('/', '.')}__{config.preset}__{label or config.seed}__{stamp}"
    path = run_dir or Path("runs") / name
    for attempt in [path] if run_dir else [path, *(path.with_name(f"{name}-{i}") for i in range(2, 100))]:
        try:
            attempt.mkdir(parents=True)
            return attempt
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(
                f"--run-dir {attempt}: cannot be made ({error.strerror}); choose a folder that you may write to"
            ) from error
    raise InputError(f"--run-dir {path}: exists already; choose another, or remove it")


def write_config(folder: Path, config: Config, command: str, append: bool = False) -> None:
    """The resolved settings and the command that gave them; `append`: after those that gave the run so far."""
    path = folder / "command.txt"
    before = path.read_text() if append and path.exists() else ""
    write(folder / "config.json", json.dumps(dataclasses.asdict(config), indent=2) + "\n")
    write(path, before + command + "\n")


def read_config(folder: Path) -> Config:
    path = folder / "config.json"
    return check(apply(Config(), read_json(path), str(path)))


def find_run(run: str | Path) -> Path:
    """The folder of a run, or one line that says why it is not one."""
    folder = Path(run)
    if not folder.is_dir():
        near = sorted(Path("runs").glob("*"), key=lambda p: p.stat().st_mtime)[-1:] if Path("runs").is_dir() else []
        raise InputError(
            f"{folder}: no such run folder{f'; the newest is {near[0]}' if near else '; train one first: swingup train Pendulum-v1'}"
        )
    if (folder / "group.json").is_file():
        first = next(iter(sorted(folder.glob("seed-*"))), folder / "seed-0")
        raise InputError(f"{folder}: a group of runs, one for each seed; name one of them, for example {first}")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not the folder of a run, it has no config.json")
    if odd := stray(folder):
        raise InputError(f"{odd}: a link, pipe or device; a run's folder holds plain files only, put a copy there or remove it")
    return folder


def stray(folder: Path) -> str | None:
    """What in a folder is neither a file nor a folder: it may lead out of it, and a run that goes on would write there."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:  # a run that is going on removes what it has just shown
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if inside := stray(Path(entry.path)):
                    return inside
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                return entry.path
    return None
