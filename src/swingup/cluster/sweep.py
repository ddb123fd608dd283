"""`swingup sweep`: searches a space of settings with Optuna, in worker processes on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swingup.cluster import sweep_report
from swingup.cluster.place import check_place
from swingup.cluster.space import as_tables, read_space
from swingup.cluster.study import JOURNAL, SweepFolder, is_sweep, load_optuna, write_about
from swingup.cluster.sweep_tasks import RaySweep
from swingup.config.settings import Place
from swingup.errors import InputError
from swingup.reports.progress import console_of
from swingup.storage.text_file import read_json
from swingup.training.build import RunBuilder
from swingup.training.environments import open_environments
from swingup.training.options import Options
from swingup.training.signals import StopRequest, stop_on_signals

POLL = 0.5  # seconds between two looks at the storage


@dataclass(frozen=True)
class Wanted:
    """What a sweep shall do: see the flags of `swingup sweep`."""

    space: str
    trials: int
    seeds: tuple[int, ...]
    prune: bool
    storage: str
    on: Place | None = None


def begin(builder: RunBuilder, wanted: Wanted, options: Options, command: str) -> Path:
    """Make the folder of a sweep; whatever its first trial would stumble over is raised before."""
    load_optuna()
    space = read_space(wanted.space, builder.config)
    with open_environments(builder.environments(builder.env, options)) as envs:
        builder.check(envs.spec)
    folder = builder.new_folder(options, "sweep")
    about = {
        "settings": builder.settings,
        "space": as_tables(space),
        "trials": wanted.trials,
        "seeds": list(wanted.seeds),
        "prune": wanted.prune,
        "storage": wanted.storage or JOURNAL,
        "study": folder.name,
        "command": command,
    }
    about |= {"on": wanted.on} if wanted.on else {}
    write_about(folder, about)
    return folder


def appears(folder: Path, seconds: float = 10.0) -> bool:
    """Whether another process makes the folder a sweep meanwhile: jobs of an array begin at the same time."""
    until = time.monotonic() + seconds
    while folder.is_dir() and not is_sweep(folder) and time.monotonic() < until:
        time.sleep(0.1)
    return is_sweep(folder)


def extend(folder: Path, trials: int | None) -> None:
    """Let a sweep have more trials than it was begun with."""
    about = read_json(folder / "sweep.json")
    if trials is not None and type(about.get("trials")) is int and trials > about["trials"]:
        about.pop("result", None)
        write_about(folder, {**about, "trials": trials})


def run(folder: Path, jobs: int | None, options: Options) -> dict[str, Any]:
    """Train the trials that are left, `jobs` at a time; returns the sweep's result.

    options: of them the address and patience of a cluster, and whether to be quiet.

    Its "trials" count what is done: one that a signal interrupted is "running", and goes on in the next call.
    """
    started = time.monotonic()
    sweep = SweepFolder(folder)
    study = sweep.study()
    console, watched = console_of(options.quiet), Watch(sweep, study)
    left = sweep.trials - watched.ended
    check_place(sweep.on, options)
    if left > 0:
        how = f"{left} trials of {len(sweep.seeds)} seeds each"
        begun = lambda count: console.print(
            f"{sweep.env} · preset {sweep.config.preset} · {how}, {count} at a time · {folder}"
        )
        with stop_on_signals() as stop:
            if sweep.on is None:
                count = min(jobs or side_by_side(sweep.config.threads), left)
                begun(count)
                train(sweep, count, stop, console.print, watched)
            else:
                RaySweep(sweep, watched, stop, console.print).train(jobs, options, begun)
    found = sweep_report.outcome(sweep, study, time.monotonic() - started)
    sweep_report.write_preset(sweep, found)
    if not unfinished(found, sweep.trials):
        write_about(folder, {**sweep.about, "result": found})
    return found


def unfinished(found: dict[str, Any], trials: int) -> int:
    """How many trials have no outcome yet."""
    return trials - sum(found["trials"][k] for k in ("complete", "pruned", "fail"))


def side_by_side(threads: int) -> int:
    """The trials trained at a time by default: as many as there are cores for their threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // threads, 1)


class Watch:
    """Reads the storage, and has a line for each trial that ended since."""

    def __init__(self, sweep: SweepFolder, study: Any):
        self.sweep, self.study = sweep, study
        self.seen = {t.number for t in self.trials if t.state.is_finished()}

    @property
    def trials(self) -> list[Any]:
        """All trials of the study."""
        return self.study.get_trials(deepcopy=False)

    @property
    def ended(self) -> int:
        """How many trials have an outcome."""
        return len(self.seen)

    def news(self) -> list[str]:
        """A line for each trial that ended since the last call."""
        trials, found = self.trials, []
        values = [t.value for t in trials if t.state.name == "COMPLETE"]
        for trial in trials:
            if trial.state.is_finished() and trial.number not in self.seen:
                self.seen.add(trial.number)
                found.append(sweep_report.progress_line(self.sweep, trial, max(values, default=None)))
        return found


def train(
    sweep: SweepFolder, count: int, stop: StopRequest, say: Callable[[str], None], watched: Watch
) -> None:
    """Let `count` worker processes train all trials; a stop reaches each worker once."""
    errors: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if "error" in message:
            errors.append(message["error"])
        else:
            say(f"trial {message['trial']}: {message['say']}")

    workers = [Worker(sweep, hear) for _ in range(count)]
    try:
        while any(worker.alive for worker in workers):
            time.sleep(POLL)
            for line in watched.news():
                say(line)
            if stop.interrupted:
                for worker in workers:
                    worker.ask_to_stop()
    finally:
        for worker in workers:
            worker.end()
    for line in watched.news():
        say(line)
    if errors:
        raise InputError(errors[0])
    fate = next((w.process.returncode for w in workers if w.process.returncode), 0)
    if fate and not stop.interrupted:
        what = f"a worker process of the sweep ended with code {fate}; what it printed is in"
        say(f"warning: {what} {sweep.folder / 'output.txt'}")


class Worker:
    """The parent's side of one worker process of a sweep."""

    def __init__(self, sweep: SweepFolder, hear: Callable[[dict[str, Any]], None]):
        self.asked, self.hear = False, hear
        serve = "from swingup.cluster.sweep_worker import serve; serve()"
        code = f"import sys; sys.path[:] = {sys.path!r}; {serve}"
        with (sweep.folder / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                process_group=0,  # it gets no Ctrl-C of the terminal's
                text=True,
                env={"OPENBLAS_NUM_THREADS": "1", **os.environ},
            )
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({**sweep.order, "folder": str(sweep.folder)}) + "\n")
            self.process.stdin.flush()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        """Pass on the worker's messages until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.hear(json.loads(line))

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask_to_stop(self) -> None:
        """Ask the process to save and end; only once, because a second signal would end it at once."""
        if not self.asked:
            self.asked = True
            self.process.terminate()

    def end(self) -> None:
        """End the process at once if it is still there, and close its pipes."""
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
