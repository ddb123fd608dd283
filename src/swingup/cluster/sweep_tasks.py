"""A sweep on a Ray cluster: each task trains trials of the sweep's folder until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Protocol

from swingup.cluster.connection import TRIES, ClusterLost
from swingup.cluster.study import SweepFolder
from swingup.cluster.task import Job
from swingup.cluster.tasks import Tasks, cluster_of, job
from swingup.errors import InputError
from swingup.training.options import Options
from swingup.training.signals import StopRequest

SERVE = "from swingup.cluster.sweep_worker import serve; serve()"
POLL = 0.5  # seconds between two looks at the storage


class Watched(Protocol):
    """Reads the storage: how many trials have an outcome, and a line for each that ended since."""

    @property
    def ended(self) -> int: ...

    def news(self) -> list[str]: ...


class RaySweep:
    """Trains the trials of a sweep as tasks."""

    def __init__(self, sweep: SweepFolder, watched: Watched, stop: StopRequest, say: Callable[[str], None]):
        self.sweep, self.watched, self.stop, self.say = sweep, watched, stop, say
        self.errors: list[str] = []
        self.looked = 0.0

    def train(self, jobs: int | None, options: Options, begin: Callable[[int], None]) -> None:
        """Train all trials, `jobs` at a time, by default one for each core; begin: called with that number.

        Trials whose node was lost are taken up by the other tasks, or by those of another round.
        """
        threads = self.sweep.config.threads
        try:
            with closing(self.tasks(options)) as tasks:
                count = min(jobs or sum(cores // threads for cores in tasks.nodes), self.left)
                begin(count)
                for _ in range(TRIES):
                    if self.left <= 0 or self.stop.interrupted:
                        break
                    work = {k: self.job() for k in range(min(count, self.left))}
                    tasks.run(work, count, self.stop, self, self.refresh)
                    self.report()
                    if self.errors:
                        raise InputError(self.errors[0])
        except ClusterLost as error:
            self.report()
            self.say(f"the cluster is lost: {error}")

    @property
    def left(self) -> int:
        """How many trials have no outcome yet."""
        return self.sweep.trials - self.watched.ended

    def tasks(self, options: Options) -> Tasks:
        """The cluster; InputError if it cannot be used."""
        threads = self.sweep.config.threads
        return Tasks(cluster_of(options, threads, self.sweep.folder, self.say), threads)

    def job(self) -> Job:
        """The job of one task: trials of this sweep until none is left."""
        order = {**self.sweep.order, "folder": str(self.sweep.folder.absolute())}
        return job(SERVE, [order], self.sweep.folder, self.sweep.config.threads)

    def refresh(self) -> None:
        """Report, twice a second."""
        if time.monotonic() - self.looked > POLL:
            self.report()
            self.looked = time.monotonic()

    def report(self) -> None:
        """Say which trials have ended."""
        for line in self.watched.news():
            self.say(line)

    def begun(self, k: int, node: str) -> None:
        """Nothing to be said."""

    def heard(self, k: int, message: dict[str, Any]) -> bool:
        if "error" in message:
            self.errors.append(message["error"])
        else:
            self.say(f"trial {message['trial']}: {message['say']}")
        return False

    def lost(self, k: int, why: str) -> None:
        self.say(f"task {k} is lost ({why:.100}); another one goes on with its trial")

    def ended(self, k: int, code: int | None, why: str) -> None:
        if why and "has no folder" in why:
            self.errors.append(why)
        elif (why or code) and not self.stop.interrupted:
            fate = why or f"ended with code {code}; what it printed is in {self.sweep.folder / 'output.txt'}"
            self.say(f"warning: task {k} of the sweep: {fate}")
