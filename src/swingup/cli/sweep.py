"""`swingup sweep`: its flags, and what it does."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from swingup.cli import output
from swingup.cli.flags import parse
from swingup.config.fields import setting
from swingup.config.presets import resolved
from swingup.config.settings import Config
from swingup.errors import InputError
from swingup.storage import trusted_modules
from swingup.training.build import RunBuilder
from swingup.training.options import SHOWING, Options


@dataclass(frozen=True)
class Sweep:
    """Search settings with Optuna: several seeds a trial, poor trials end early, the best ones in a file."""

    settings: Config
    config: Path | None = setting(None, "A TOML file of settings that all trials share.", first=True)
    space: str = setting(
        "auto",
        "The settings to search: ddpg, td3 (auto picks by --critics) or a TOML file with a table for each, "
        "[gamma] low, high, log or choices.",
        first=True,
    )
    trials: int = setting(20, "How many trials in all.", values="[1, 1000000]", first=True)
    jobs: int | None = setting(
        None,
        "Trials trained side by side; by default one for each core, here or of the cluster.",
        values="[1, 1024]",
        first=True,
    )
    seeds: str = setting(
        "3", "Seeds of each trial: a count (3), a range (0:3) or a list (0,3,5).", first=True
    )
    prune: bool = setting(
        True, "End a trial at an evaluation after which its mean is below the others' median.", SHOWING
    )
    storage: str = setting(
        "",
        "A database for the trials, as a URL of SQLAlchemy's; by default a journal in the sweep's folder. "
        "Variables in it ($PASSWORD) are replaced and not kept.",
        SHOWING,
    )
    run_dir: Path | None = setting(
        None, "A new or empty folder for the sweep; by default one under runs/.", SHOWING, first=True
    )
    address: str | None = setting(
        None, "With --on ray: the address of a cluster's head, as for train.", SHOWING
    )
    worker_patience: float = setting(
        60.0, "With --on ray: seconds to wait for lost trials to begin again.", SHOWING, values="(0, 1e6]"
    )
    resume: bool = setting(
        False, "Go on with the sweep in --run-dir, if there is one; else start it. --trials may add some."
    )
    quiet: bool = setting(False, "No progress: only the result.", SHOWING)
    json: bool = setting(False, "The result as one JSON line on stdout, nothing else.", SHOWING)


def sweep(wanted: Sweep, words: list[str]) -> int:
    """swingup sweep ENV"""
    from swingup.cluster import sweep as sweeps
    from swingup.cluster.place import check_place, whole_runs
    from swingup.cluster.study import is_sweep
    from swingup.multiseed.seeds import numbers

    if wanted.resume and wanted.run_dir is None:
        raise InputError("--resume: of which sweep? Name its folder with --run-dir")
    folder = wanted.run_dir
    options = Options(
        folder,
        wanted.quiet or wanted.json,
        address=wanted.address,
        worker_patience=wanted.worker_patience,
    )
    if wanted.resume and folder is not None and is_sweep(folder):
        typed = any(word.replace("_", "-").split("=")[0] == "--trials" for word in words)
        sweeps.extend(folder, wanted.trials if typed else None)
        return finish_sweep(folder, wanted.jobs, options, wanted.json)
    if not wanted.settings.env:
        raise InputError("sweep: which environment? For example: swingup sweep Pendulum-v1")
    if parse(Sweep, "sweep", words).settings.env:
        trusted_modules.allow(wanted.settings.env)
    trusted_modules.check(wanted.settings.env, wanted.config or Path("settings"))
    threads = any(word.replace("_", "-").split("=")[0] == "--threads" for word in words)
    count = wanted.settings.threads if threads else 1  # as seeds side by side have
    place, config = wanted.settings.on, whole_runs(wanted.settings, "sweep")
    check_place(place, options)
    builder = RunBuilder(replace(resolved(config), threads=count))
    seeds, told = numbers(wanted.seeds), (wanted.prune, wanted.storage)
    what = sweeps.Wanted(wanted.space, wanted.trials, seeds, *told, place)
    command = shlex.join(["swingup", "sweep", *words])
    try:
        folder = sweeps.begin(builder, what, replace(options, quiet=True), command)
    except InputError:
        if not (wanted.resume and folder is not None and sweeps.appears(folder)):
            raise
    return finish_sweep(folder, wanted.jobs, options, wanted.json)


def finish_sweep(folder: Path, jobs: int | None, options: Options, as_json: bool) -> int:
    """Train what is left of a sweep, and print its result or how to go on with it."""
    from swingup.cluster import sweep as sweeps
    from swingup.cluster.study import SweepFolder

    found, about = sweeps.run(folder, jobs, options), SweepFolder(folder)
    return output.conclude_sweep(found, about.env, sweeps.unfinished(found, about.trials), as_json)
