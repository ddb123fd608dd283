"""What a run's environments are made from: read from its folder, and recorded in it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium

from swingup.envs.objects import arguments_of
from swingup.errors import InputError
from swingup.storage import text_file, trusted_modules

# The file in a run's folder that says where an environment without an id comes from.
FILE = "factory.txt"


def importable(source: Any) -> str:
    """The `module:Name` that names a class or function in every process; empty if there is none."""
    source = getattr(source, "__wrapped__", source)
    module, name = getattr(source, "__module__", None) or "", getattr(source, "__qualname__", "")
    if module in ("", "__main__") or not name.isidentifier():
        return ""
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is source else ""


def described(source: Any, shared: bool) -> str:
    """What a run's folder keeps of an object, a class or a function; empty if the settings say it all.

    shared: whether the object is trained on and evaluated on, as no copy of it can be made.
    """
    if source is None or isinstance(source, str):
        return ""
    if isinstance(source, gymnasium.Env):
        if not shared and arguments_of(source) is not None:
            return ""
        return f"made from an object, {source!r}; {again(source)}\n"
    if name := importable(source):
        return f"{name}\nimport it as that; on the command line: --import {name.partition(':')[0]}\n"
    return f"made from {source!r}; {again(source)}\n"


def again(source: Any) -> str:
    """How to open a run whose environment only its program can make."""
    return (
        "give it again in Python, swingup.load(folder, env), or on the command line name a class or function "
        "that makes it, --import MODULE:NAME"
    )


def write_source(folder: Path, source: Any, shared: bool) -> None:
    """Record what an environment without an id was made from."""
    if text := described(source, shared):
        text_file.write(folder / FILE, text)


def read_source(folder: Path, env: str, wrappers: Sequence[str]) -> str:
    """The id, or the `module:Name`, that a run's environments are made from; env, wrappers: its settings'.

    InputError if only its program can make them, or if that imports what the user has not named.
    """
    for wrapper in wrappers:
        trusted_modules.check_wrapper(wrapper, folder)
    if not (folder / FILE).exists():
        return trusted_modules.check(env, folder)
    first = (folder / FILE).read_text(encoding="utf-8").partition("\n")[0]
    if re.fullmatch(r"[\w.]+:\w+", first):
        return trusted_modules.check(first, folder)
    raise InputError(
        f"{folder}: trained on an object or a function, not on an id; "
        "open it with swingup.load(folder, env), "
        "or with --import MODULE:NAME, a class or function that makes the environment"
    )
