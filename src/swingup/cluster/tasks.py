"""Jobs on a Ray cluster: started, listened to, started again where they are lost, stopped together."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

from swingup.cluster.connection import TRIES, Cluster, ClusterLost, DriverLost, RayProcess
from swingup.cluster.task import Job
from swingup.errors import InputError
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
        self.lost_at: float | None = None  # when a job was lost and none runs since
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
                self.waiting.extendleft(reversed([*self.running]))
                self.running.clear()
            refresh()
            if self.lost_at is not None and time.monotonic() - self.lost_at > self.cluster.patience:
                raise ClusterLost(f"nothing could be started again for {self.cluster.patience:.0f} s")

    def start(self, k: int) -> None:
        """Let Ray start a job as soon as there are cores for it."""
        self.running[k] = None
        self.send("start", k, self.jobs[k])

    def hear(self, word: str, k: int, what: Any) -> None:
        """Handle a message of the driver's."""
        if k not in self.running:  # said before it was dropped
            return
        if word == "begun":
            self.running[k], self.lost_at = time.monotonic(), None
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
        if self.lost_at is None and not any(since is not None for since in self.running.values()):
            self.lost_at = now
        self.listener.lost(k, why)
        self.waiting.appendleft(k)
