"""Which modules an id in a run folder may import: those that the user named, while their file keeps its path.

A run on `my_module:MyEnv-v0` keeps that id in its settings, and whoever passes on a folder can write any id
into them. So an id read from a folder imports nothing new: its module must be imported already or be in the
user's own list.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from swingup.errors import InputError

named: set[str] = set()  # modules, in this process


def module_of(env: str) -> str:
    """The module that an id names before its colon; empty if there is none."""
    return env.rpartition(":")[0]


def register() -> Path:
    """The path of the user's list: lines of module, tab, file."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "swingup" / "modules"


def origin(module: str) -> str:
    """The file that importing a module would run first; nothing is executed to find it."""
    top = module.partition(".")[0]
    if top in sys.modules:
        return os.path.realpath(getattr(sys.modules[top], "__file__", None) or top)
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    return os.path.realpath(spec.origin) if spec and spec.origin else ""


def allow(env: str) -> None:
    """Record that the user named this environment: runs on it may import its module from now on."""
    module = module_of(env)
    if not module:
        return
    named.add(module)
    if not origin(module) or known(module):
        return
    with suppress(OSError):  # without a home folder the user has to name the module again
        register().parent.mkdir(parents=True, exist_ok=True)
        with register().open("a", encoding="utf-8") as file:
            file.write(f"{module}\t{origin(module)}\n")


def known(module: str) -> bool:
    """Whether the list has this module at the path where its file is now."""
    try:
        lines = register().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return f"{module}\t{origin(module)}" in lines


def allowed(names: Iterable[str]) -> list[str]:
    """The modules of these names that the user named, for a process that does not see the user's list."""
    modules = {module_of(name) for name in names} - {""}
    return sorted(module for module in modules if module in named or known(module))


def check(env: str, folder: Path, what: str = "environment") -> str:
    """Return the id from a folder, if creating it imports only modules that the user named.

    what: what it is the id of, for the error.

    InputError, with the way to name the module, if not.
    """
    module = module_of(env)
    if not module or module in named or known(module) or (module in sys.modules and harmless(env)):
        return env
    again = {"environment": "give the environment", "networks": "give networks="}
    raise InputError(
        f"{folder}: its {what} {env!r:.100} would import the module {module!r:.60}, "
        "which you have not named yourself on this machine; "
        "if you trust that code, add --import with the module's name "
        f"(in Python {again.get(what, 'import it first')})"
    )


def harmless(env: str) -> bool:
    """Whether `module:Name` of an imported module is a registered id or a class of environments or callbacks.

    Any other function of any imported module would be called, too.
    """
    import gymnasium

    module, _, name = env.rpartition(":")
    found = getattr(sys.modules[module], name, None)
    kind = isinstance(found, type) and (issubclass(found, gymnasium.Env) or hasattr(found, "on_iteration"))
    return name in gymnasium.registry or kind


def check_wrapper(path: str, folder: Path) -> None:
    """InputError unless a wrapper in a folder is Gymnasium's or in a module that the user named."""
    module, _, name = path.partition(":")
    if module == "gymnasium.wrappers":
        import gymnasium.wrappers

        found = getattr(gymnasium.wrappers, name, None)
        if isinstance(found, type) and issubclass(found, gymnasium.Wrapper):
            return
    elif module in named or known(module):
        return
    raise InputError(
        f"{folder}: its wrapper {path!r:.100} is in a module that you have not named yourself on this "
        "machine; if you trust that code, add --import with the module's name"
    )
