"""Whose code a run's folder may import: a module that this user has named himself, and that still lies where it lay then.

A run on `my_module:MyEnv-v0` keeps that id in its settings, and whoever gives a folder away can write any id into them. So an id that
is read from a folder imports nothing that is new: its module must be imported already, or stand in the user's own list.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path

from swingup.errors import InputError

named: set[str] = set()  # in this process


def module_of(env: str) -> str:
    """The module that an id names before its colon; empty where it names none."""
    return env.rpartition(":")[0]


def register() -> Path:
    """Where the list is kept: lines of module, tab, file."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "swingup" / "modules"


def origin(module: str) -> str:
    """The file that importing a module would run first; found without running anything."""
    top = module.partition(".")[0]
    if top in sys.modules:
        return os.path.realpath(getattr(sys.modules[top], "__file__", None) or top)
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    return os.path.realpath(spec.origin) if spec and spec.origin else ""


def remember(env: str) -> None:
    """The user has named this environment himself: runs on it may import its module from now on."""
    module = module_of(env)
    if not module:
        return
    named.add(module)
    if not origin(module) or known(module):
        return
    with suppress(OSError):  # without a home the module is named again next time
        register().parent.mkdir(parents=True, exist_ok=True)
        with register().open("a") as file:
            file.write(f"{module}\t{origin(module)}\n")


def known(module: str) -> bool:
    """Whether the list has this module, in the file where it lies now."""
    try:
        lines = register().read_text().splitlines()
    except (OSError, ValueError):
        return False
    return f"{module}\t{origin(module)}" in lines


def check(env: str, folder: Path) -> str:
    """The id that a folder names, if making it imports nothing that the user has not named; else InputError, with the way to name it."""
    module = module_of(env)
    if not module or module in named or module in sys.modules or known(module):
        return env
    raise InputError(
        f"{folder}: its environment {env!r:.100} would import the module {module!r:.60}, which you have not named yourself on this machine; "
        "if you trust that code, add --import with the module's name (in Python give the environment)"
    )
