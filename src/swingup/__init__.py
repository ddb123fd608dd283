"""swingup: training of continuous-control policies with DDPG and its descendants, in JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> module. Resolved on first use, so that `import swingup` and `swingup --help` need no JAX.
PUBLIC = {
    "train": "training",
    "resume": "training",
    "load": "run",
    "Run": "run",
    "Group": "group",
    "Config": "config",
    "DDPG": "model",
    "TD3": "model",
    "Policy": "policy",
    "InputError": "errors",
    "EnvFault": "errors",
    "Diverged": "errors",
}

if TYPE_CHECKING:
    from swingup.api import resume as resume
    from swingup.api import train as train
    from swingup.config.settings import Config as Config
    from swingup.core.policy import Policy as Policy
    from swingup.errors import Diverged as Diverged
    from swingup.errors import EnvFault as EnvFault
    from swingup.errors import InputError as InputError
    from swingup.model import DDPG as DDPG
    from swingup.model import TD3 as TD3
    from swingup.runs.group import Group as Group
    from swingup.runs.run import Run as Run
    from swingup.runs.run import load as load

__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'swingup' has no attribute {name!r}; it has {', '.join(PUBLIC)}")
    value = getattr(importlib.import_module(f"swingup.{PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*PUBLIC, "__version__"])
