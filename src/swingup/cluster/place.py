"""Where several runs are trained, each run whole: on this machine, or as tasks of a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from swingup.cluster.connection import need_ray
from swingup.config.settings import Config, Place
from swingup.errors import InputError
from swingup.training.options import Options


def whole_runs(config: Config, what: str) -> Config:
    """The settings of runs that are whole tasks of a cluster: each run itself is on one node.

    what: the flag or command that asks for several runs. InputError for settings of a single run's workers.
    """
    if config.on is None:
        return config
    if config.workers is not None:
        why = f"with {what}, --on {config.on} trains each run whole, on one node; leave --workers out"
        raise InputError(f"--workers {config.workers}: {why}")
    if config.order == "free":
        raise InputError(f"--order free: of the workers of a single run; leave it out with {what}")
    return replace(config, on=None)


def recorded(about: dict[str, Any], path: Path) -> Place | None:
    """Where the file of a group or a sweep says that its runs are trained; None is this machine."""
    if about.get("on") is None:
        return None
    if about["on"] != "ray":
        raise InputError(f"{path}: cannot be used (on is {about['on']!r:.40}); it can only be ray")
    return "ray"


def check_place(on: Place | None, options: Options) -> None:
    """InputError if runs cannot be trained there, before there is a folder."""
    if on is not None:
        need_ray()
    elif options.address is not None:
        raise InputError(f"--address {options.address}: of what? It goes with --on ray")
