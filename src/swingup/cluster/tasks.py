"""Jobs on a Ray cluster: started, listened to, started again where they are lost, stopped together."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from swingup.cluster.connection import TRIES, Cluster, ClusterLost, DriverLost, RayProcess
from swingup.cluster.task import Job
from swingup.errors import InputError
from swingup.training.options import Options
from swingup.training.signals import StopRequest

SETTLED = 60.0  # seconds after which the loss of a job's task is not counted with the one before
TICK = 0.1  # seconds between two refreshes while nothing is said


class Listener(Protocol):
    """Hears of jobs, by their numbers."""

    def begun(self, k: int, node: str) -> None:
        """It has begun on a node."""

    def heard(self, k: int, message: dict[str, Any]) -> bool:
        """It said something; whether it is done with that."""
        ...

    def lost(self, k: int, why: str) -> None:
        """Its task is lost, and it is started again."""

    def ended(self, k: int, code: int | None, why: str) -> None:
        """It ended by itself: with an exit code, or for a reason; neither if it never began, or was
        lost after a stop."""


class Tasks(RayProcess):
    """Jobs on Ray, through a process of their own. nodes: the cores of each node; need: those of one job."""

    server = "swingup.cluster.task_driver:TaskDriver"
    again = "it is made again, and runs go on from their checkpoints"

    def __init__(self, cluster: Cluster, need: int):
        self.need, self.nodes = need, [need]
        super().__init__(cluster)

    def check_room(self, nodes: list[int]) -> None:
        self.nodes = nodes
        if max(nodes, default=0) < self.need:
            what = f"no node of the cluster has more than {max(nodes, default=0)} cores"
            raise InputError(f"--threads {self.need}: {what}; lower --threads or add larger nodes")

    def run(
        self,
        jobs: dict[int, Job],
        most: int,
        stop: StopRequest,
        listener: Listener,
        refresh: Callable[[], None],
    ) -> None:
        """Do all jobs, at most so many at a time; returns when all have ended, or after a stop those begun.

        refresh: called ten times a second. A stop reaches each job once. ClusterLost if lost ones cannot be
        started again.
        """
        self.jobs, self.listener, self.stop, self.waiting = jobs, listener, stop, deque(jobs)
        self.running: dict[int, float | None] = {}  # since when, None before they have begun
        self.strikes: Counter[int] = Counter()
        self.missing: set[int] = set()  # jobs that were lost and have not begun again
        self.idle_since: float | None = None  # since when some are missing and none runs
        told: set[int] = set()
        while self.running or (self.waiting and not stop.interrupted):
            try:
                while self.waiting and len(self.running) < most and not stop.interrupted:
                    self.start(self.waiting.popleft())
                for k in set(self.running) - told if stop.interrupted else ():
                    told.add(k)
                    self.send("stop", k)
                if message := self.receive(TICK):
                    self.reconnects = 0
                    self.hear(*message)
            except DriverLost as error:
                if stop.interrupted:
                    raise ClusterLost(str(error)) from error
                self.reconnect(str(error))
                self.missing.update(self.running)
                self.waiting.extendleft(reversed([*self.running]))
                self.running.clear()
            refresh()
            self.check_patience()

    def check_patience(self) -> None:
        """ClusterLost if nothing runs for too long because what was lost cannot be started again."""
        if not self.missing or any(since is not None for since in self.running.values()):
            self.idle_since = None
            return
        now, patience = time.monotonic(), self.cluster.patience
        self.idle_since = self.idle_since or now
        if now - self.idle_since > patience:
            raise ClusterLost(f"nothing could be started again for {patience:.0f} s")

    def start(self, k: int) -> None:
        """Let Ray start a job as soon as there are cores for it."""
        self.running[k] = None
        self.send("start", k, self.jobs[k])

    def hear(self, word: str, k: int, what: Any) -> None:
        """Handle a message of the driver's."""
        if k not in self.running:  # said before it was dropped
            return
        if word == "begun":
            self.running[k] = time.monotonic()
            self.missing.discard(k)
            self.listener.begun(k, what)
        elif word == "lines":
            if any(self.listener.heard(k, json.loads(line)) for line in what):
                del self.running[k]
                self.send("drop", k)
        elif word == "ended":
            del self.running[k]
            self.listener.ended(k, *what)
        else:
            self.lose(k, what)

    def lose(self, k: int, why: str) -> None:
        """Start a lost job again, unless it is lost again and again."""
        since, now = self.running.pop(k), time.monotonic()
        if self.stop.interrupted:
            self.listener.ended(k, None, "")
            return
        self.strikes[k] = 1 if since is not None and now - since > SETTLED else self.strikes[k] + 1
        if self.strikes[k] >= TRIES:
            self.listener.ended(k, None, f"lost {TRIES} times in a row ({why}); see {self.cluster.log}")
            return
        self.missing.add(k)
        self.listener.lost(k, why)
        self.waiting.appendleft(k)


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cluster_of(options: Options, threads: int, folder: Path, say: Callable[[str], None]) -> Cluster:
    """The cluster of tasks with so many threads: that of --address, else one of all cores here."""
    cores = max(cores_here(), threads)
    return Cluster(options.address, cores, options.worker_patience, folder / "cluster.txt", say)


def job(call: str, lines: Sequence[dict[str, Any]], folder: Path, cores: int, writes: str = "") -> Job:
    """A job of this process's: it finds modules and files where this process does."""
    log, paths = str(folder.absolute() / "output.txt"), tuple(sys.path)
    return Job(call, tuple(lines), log, cores, writes, paths, str(Path.cwd()))
