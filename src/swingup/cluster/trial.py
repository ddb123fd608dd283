"""One trial of a sweep: a run for each seed, side by side, pruned by the mean of their evaluations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.cluster.study import Claim, SweepFolder, claimed
from swingup.config.settings import apply
from swingup.errors import Diverged, EnvFault, InputError
from swingup.reports.callback import Callback
from swingup.runs.run import Run
from swingup.storage import disk, run_folder, tables, text_file
from swingup.storage.checkpoint_reader import Unloadable
from swingup.training.build import RunBuilder
from swingup.training.options import Options
from swingup.training.session import SeedContext, training_session
from swingup.training.signals import StopRequest

if TYPE_CHECKING:
    from swingup.loops.evaluation import Evaluation

Say = Callable[[int, str], Any]


class Evaluations(Callback):
    """The means of a run's evaluations by step, those of earlier processes included."""

    def __init__(self, folder: Path):
        self.means: dict[int, float] = {}
        if (folder / "evaluations.csv").exists():
            table = tables.read_csv(folder / "evaluations.csv")
            self.means = {int(s): float(m) for s, m in zip(table["step"], table["mean"], strict=True)}

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        self.means[step] = evaluation.mean


class Warnings:
    """A console that passes on a run's warnings and nothing else."""

    def __init__(self, say: Callable[[str], None]):
        self.say = say

    def print(self, text: str) -> None:
        """Pass on a line if it is a warning."""
        if text.startswith("warning"):
            self.say(text)


def work(sweep: SweepFolder, stop: StopRequest, say: Say) -> None:
    """Train one trial after the other until none is left; say: called with a trial and a line about it."""
    study = sweep.study()
    while not stop.interrupted:
        with claimed(sweep, study) as claim:
            if claim is None:
                return
            train_trial(sweep, study, claim, stop, say)


def train_trial(sweep: SweepFolder, study: Any, claim: Claim, stop: StopRequest, say: Say) -> None:
    """Train a trial and record its outcome; one that a signal interrupts stays open and can be continued.

    A trial whose training diverges counts as pruned: it is among the worst. One that cannot be trained fails.
    """
    from optuna.trial import TrialState

    trial = claim.trial
    try:
        value = play_seeds(sweep, claim, stop, lambda text: say(trial.number, text))
    except Diverged as error:
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.PRUNED)
    except (InputError, EnvFault, Unloadable) as error:
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        if stop.interrupted and value is None:
            return
        study.tell(trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
    for seed in sweep.seeds:  # a sweep's replays would fill a disk
        with suppress(OSError):
            disk.remove(claim.folder / f"seed-{seed}" / "ckpt")


def play_seeds(
    sweep: SweepFolder, claim: Claim, stop: StopRequest, say: Callable[[str], None]
) -> float | None:
    """The mean return of a trial's closing evaluations; None if it was pruned or interrupted.

    The seeds take turns, so that evaluations of the same step are compared with those of other trials.
    """
    config = apply(sweep.config, sweep.settings(claim.trial), f"trial {claim.trial.number}")
    seen = {seed: Evaluations(claim.folder / f"seed-{seed}") for seed in sweep.seeds}
    found = {seed: found_result(claim.folder / f"seed-{seed}") for seed in sweep.seeds}
    sessions = {
        seed: session(sweep, claim, RunBuilder(replace(config, seed=seed)), seen[seed], stop, say)
        for seed in sweep.seeds
        if not found[seed]
    }
    write_group(sweep, claim)
    try:
        while sessions:
            for seed in list(sessions):
                try:
                    next(sessions[seed])
                except StopIteration as end:
                    del sessions[seed]
                    found[seed] = end.value.result
            if report(claim.trial, list(seen.values())) and sessions:
                return None
    finally:
        for each in sessions.values():
            each.close()
    if not all(found.values()):
        return None
    return float(np.mean([result["mean"] for result in found.values()]))


def found_result(folder: Path) -> dict[str, Any]:
    """The closing evaluation of a seed that an earlier process finished; {} if there is none."""
    return run_folder.read_result(folder) if (folder / "config.json").exists() else {}


def session(
    sweep: SweepFolder,
    claim: Claim,
    builder: RunBuilder,
    seen: Evaluations,
    stop: StopRequest,
    say: Callable[[str], None],
) -> Generator[None, None, Run]:
    """The run of one seed, begun or continued, as a generator that pauses before each computation."""
    folder = claim.folder / f"seed-{builder.seed}"
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.write_settings(folder, builder.settings, sweep.command)
    console = Warnings(lambda text: say(f"seed {builder.seed}: {text}"))
    context = SeedContext(console, seen, stop, RunBuilder.loop)
    options = Options(folder, quiet=True)
    return training_session(builder, sweep.env, options, sweep.command, folder, context)


def report(trial: Any, seeds: list[Evaluations]) -> bool:
    """Report the steps at which every seed has been evaluated since; whether the trial should be pruned."""
    steps = set.intersection(*(set(seed.means) for seed in seeds))
    prune = False
    for step in sorted(steps - set(trial.storage.get_trial(trial._trial_id).intermediate_values)):
        trial.report(float(np.mean([seed.means[step] for seed in seeds])), step)
        prune = trial.should_prune()
    return prune


def write_group(sweep: SweepFolder, claim: Claim) -> None:
    """Make the trial's folder a group, which `swingup eval` and `swingup compare` read."""
    about = {
        "env": sweep.config.env,
        "preset": sweep.config.preset,
        "mode": "process",
        "seeds": list(sweep.seeds),
        "command": sweep.command,
    }
    if not os.path.lexists(claim.folder / "group.json"):
        text_file.write(claim.folder / "group.json", json.dumps(about, indent=2) + "\n")
