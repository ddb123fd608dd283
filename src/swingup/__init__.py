"""swingup: training of continuous-control policies with DDPG and its descendants, in JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> module. Resolved on first use, so that `import swingup` and `swingup --help` need no JAX.
PUBLIC = {
    "train": "api",
    "resume": "api",
    "load": "runs.group",
    "load_policy": "storage.policy_file",
    "report": "runs.html_report",
    "card": "runs.model_card",
    "Run": "runs.run",
    "Group": "runs.group",
    "Callback": "reports.callback",
    "StopOnReturn": "reports.stock_callbacks",
    "StopOnNoImprovement": "reports.stock_callbacks",
    "SaveEvery": "reports.stock_callbacks",
    "CsvColumns": "reports.stock_callbacks",
    "Config": "config.settings",
    "DDPG": "sb3.model",
    "TD3": "sb3.model",
    "Policy": "core.policy",
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
    from swingup.reports.callback import Callback as Callback
    from swingup.reports.stock_callbacks import CsvColumns as CsvColumns
    from swingup.reports.stock_callbacks import SaveEvery as SaveEvery
    from swingup.reports.stock_callbacks import StopOnNoImprovement as StopOnNoImprovement
    from swingup.reports.stock_callbacks import StopOnReturn as StopOnReturn
    from swingup.runs.group import Group as Group
    from swingup.runs.group import load as load
    from swingup.runs.html_report import report as report
    from swingup.runs.model_card import card as card
    from swingup.runs.run import Run as Run
    from swingup.sb3 import DDPG as DDPG
    from swingup.sb3 import TD3 as TD3
    from swingup.storage.policy_file import load_policy as load_policy

__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'swingup' has no attribute {name!r}; it has {', '.join(PUBLIC)}")
    value = getattr(importlib.import_module(f"swingup.{PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*PUBLIC, "__version__"])
