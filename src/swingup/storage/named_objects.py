"""Objects that a setting names as `module:Name`: callbacks and networks of the user's own."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from swingup.errors import InputError, nearest

if TYPE_CHECKING:
    from swingup.core.custom_networks import Makers


def load_object(name: str, flag: str) -> Any:
    """Import what `module:Name` names; InputError, in one line, where that cannot be.

    Whether the module may be imported is for the caller to check (`trusted_modules`).
    """
    module, colon, attribute = name.rpartition(":")
    if not colon or not module or not attribute:
        raise InputError(f"{flag} {name}: expected module:Name, for example {flag} my_module:MyName")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())!s:.200}"
        raise InputError(
            f"{flag} {name}: importing the module {module} failed ({why}); "
            "is it in this folder, or installed, and does it run?"
        ) from error
    if not hasattr(found, attribute):
        near = nearest(attribute, [n for n in vars(found) if not n.startswith("_")])
        raise InputError(f"{flag} {name}: the module {module} has no {attribute}{near}")
    return getattr(found, attribute)


def load_networks(source: str) -> Makers:
    """The makers of actor and critic that the setting `networks` names.

    Either `module:function` of a function(obs_size, action_size, outputs) -> (actor, critic), or the names
    of a maker of each with a comma between them.
    """
    words = source.split(",")
    if not all(":" in word for word in words) or len(words) > 2:
        raise InputError(
            f"--networks {source}: expected module:function; networks that were given in Python are given "
            "there again: swingup.resume(folder, networks=...), swingup.load(folder, networks=...)"
        )
    found = [load_object(word, "--networks") for word in words]
    if not all(map(callable, found)):
        raise InputError(f"--networks {source}: expected functions that make networks")
    if len(found) == 2:
        return found[0], found[1]
    both = found[0]
    return lambda obs, action: both(obs, action, None)[0], lambda *sizes: both(*sizes)[1]


def name_makers(makers: Makers) -> str:
    """The setting `networks` for makers given in Python: names to import, or bare ones if there are none."""
    if not isinstance(makers, (tuple, list)) or len(makers) != 2 or not all(map(callable, makers)):
        raise InputError(
            "networks: expected (make_actor, make_critic), functions of (obs_size, action_size) and of "
            "(obs_size, action_size, outputs), or 'module:function'"
        )
    names = [getattr(make, "__qualname__", type(make).__name__) for make in makers]
    modules = [getattr(make, "__module__", None) or "" for make in makers]
    there = [getattr(sys.modules.get(m), n, None) for m, n in zip(modules, names, strict=True)]
    if "__main__" in modules or any(a is not b for a, b in zip(there, makers, strict=True)):
        return ",".join(names)
    return ",".join(f"{m}:{n}" for m, n in zip(modules, names, strict=True))
