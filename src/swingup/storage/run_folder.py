"""The folder of a run: created, found and checked, with its settings."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from swingup.config.settings import Config, apply, check
from swingup.errors import InputError
from swingup.storage import disk, hub
from swingup.storage.text_file import read_json, write

# What a start-up writes before config.json (of a run) or group.json (of a group) makes the folder one.
START = re.compile(r"seed-\d+|command\.txt|factory\.txt|\..*\.part")


def new_folder(run_dir: Path | None, label: str) -> Path:
    """Create the folder of a new run, `run_dir` or runs/{label}__{time}.

    InputError if it cannot be created or holds anything; what an interrupted start-up left is no obstacle.
    """
    name = f"{label.replace(':', '.').replace('/', '.')}__{time.strftime('%Y%m%d-%H%M%S')}"
    path = run_dir or Path("runs") / name
    for attempt in [path] if run_dir else [path, *(path.with_name(f"{name}-{i}") for i in range(2, 100))]:
        try:
            attempt.mkdir(parents=True)
            return attempt
        except FileExistsError:
            if run_dir and unstarted(run_dir):
                for name in os.listdir(run_dir):
                    disk.remove(run_dir / name)
                return run_dir
        except OSError as error:
            fix = "choose a folder that you may write to"
            raise InputError(f"--run-dir {attempt}: cannot be made ({error.strerror}); {fix}") from error
    raise InputError(f"--run-dir {path}: exists already; choose another, or remove it")


def unstarted(folder: Path) -> bool:
    """Whether a folder is empty or holds only the beginnings of a run or group whose start-up was killed."""
    if not folder.is_dir():
        return False
    for path in folder.iterdir():
        # Not inside a seed's folder: there, config.json is written before the group is one.
        inside = path.name.startswith("seed-") and path.is_dir() and not path.is_symlink()
        extra = {p.name for p in path.iterdir()} - {"config.json", ".config.json.part"} if inside else ()
        if not START.fullmatch(path.name) or extra or (path.is_dir() and not inside):
            return False
    return True


def write_settings(folder: Path, settings: dict[str, Any], command: str = "") -> None:
    """Write config.json and add the command, if one is given, to those that worked on the run.

    config.json comes last: a folder that has it is a run, and can be resumed.
    """
    if command:
        with (folder / "command.txt").open("a", encoding="utf-8") as file:
            file.write(command + "\n")
    write(folder / "config.json", json.dumps(settings, indent=2) + "\n")


def read_config(folder: Path) -> Config:
    """The settings in a run's config.json, checked."""
    path = folder / "config.json"
    return check(apply(Config(), read_json(path), str(path)))


# The values of result.json that others rely on.
NUMBER = lambda x: type(x) in (int, float) and abs(x) < 2**1023
COUNT = lambda x: type(x) is int and 0 <= x < 2**63
RESULT: dict[str, Callable[[Any], bool]] = {
    "mean": lambda x: x is None or NUMBER(x),  # of a run without evaluations in which no episode ended
    "std": lambda x: x is None or NUMBER(x),
    "ci95": lambda x: x is None or (type(x) is list and len(x) == 2 and all(map(NUMBER, x))),
    "episodes": COUNT,
    "steps": COUNT,
    "seconds": NUMBER,
    "run": lambda x: type(x) is str,
}


def read_result(folder: Path) -> dict[str, Any]:
    """The closing evaluation in result.json, checked; {} if the run has not reached it."""
    path = folder / "result.json"
    if not os.path.lexists(path):
        return {}
    found = read_json(path)
    for name, fits in RESULT.items():
        if name not in found or not fits(found[name]):
            what = f"{name} is {found[name]!r:.60}" if name in found else f"it has no {name}"
            raise InputError(f"{path}: not a closing evaluation ({what}); remove the file and resume the run")
    return found


def find_run(run: str | Path) -> Path:
    """The folder of a run; InputError with the reason if it is not one."""
    folder = existing(Path(run))
    if is_group(folder):
        first = next(iter(sorted(folder.glob("seed-*"))), folder / "seed-0")
        raise InputError(
            f"{folder}: a group of runs, one for each seed; name one of them, for example {first}"
        )
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not the folder of a run, it has no config.json")
    return plain(folder)


def is_group(folder: Path) -> bool:
    """Whether the folder is that of a group of runs, one for each seed."""
    return os.path.lexists(folder / "group.json")


def find_group(folder: str | Path) -> Path:
    """The folder of a group, with all its runs; InputError with the reason if it is not one."""
    return plain(existing(Path(folder)))


def existing(folder: Path) -> Path:
    """The folder; InputError, naming the newest run, if there is none."""
    if folder.is_dir():
        return folder
    if str(folder).startswith(hub.PREFIX):
        fix = "swingup.load, eval, video, watch, export and report take one"
        raise InputError(f"{folder}: a model on the Hub has a policy and no checkpoints; {fix}")
    runs = Path("runs")
    near = sorted(runs.glob("*"), key=lambda p: p.stat().st_mtime)[-1:] if runs.is_dir() else []
    hint = f"the newest is {near[0]}" if near else "train one first: swingup train Pendulum-v1"
    raise InputError(f"{folder}: no such run folder; {hint}")


def plain(folder: Path) -> Path:
    """The folder; InputError if anything in it is neither a file nor a folder."""
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
