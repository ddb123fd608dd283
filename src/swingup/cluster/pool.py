"""Seeds on a Ray cluster: each run is a task on some node, in a folder that all nodes share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from swingup.cluster.connection import ClusterLost
from swingup.cluster.place import check_place, recorded
from swingup.cluster.task import Job
from swingup.cluster.tasks import Tasks, cluster_of, job
from swingup.config.settings import Place
from swingup.multiseed.processes import PoolMaker, Say, fate
from swingup.multiseed.status import SeedStatus
from swingup.runs.group import read_about
from swingup.storage.run_folder import find_group
from swingup.training.options import Options
from swingup.training.signals import StopRequest

SERVE = "from swingup.multiseed.worker import serve; serve()"
ENDED = ("done", "failed", "stopped")


def pool_on(on: Place | None, options: Options) -> PoolMaker | None:
    """What makes the pool for a place; None for this machine. InputError if it cannot be used."""
    check_place(on, options)
    if on is None:
        return None

    def make(count: int, threads: int, env: str, folder: Path, say: Say) -> RayPool:
        return RayPool(count, threads, env, folder, say, options)

    return make


def pool_of_group(folder: Path, options: Options) -> PoolMaker | None:
    """The pool with which a group goes on: where it was begun. InputError if it cannot be used."""
    path = find_group(folder) / "group.json"
    return pool_on(recorded(read_about(path), path), options)


class RayPool:
    """Trains seeds as tasks on Ray, at most `count` at a time: see `multiseed.processes.Pool`.

    env: what environments are made from, packed; folder: the group's.
    """

    def __init__(self, count: int, threads: int, env: str, folder: Path, say: Say, options: Options):
        self.count, self.threads, self.env, self.folder, self.say = count, threads, env, folder, say
        self.options = options
        self.seeds: list[SeedStatus] = []

    def train(
        self, seeds: list[SeedStatus], order: dict[str, Any], stop: StopRequest, refresh: Callable[[], None]
    ) -> None:
        """Train all seeds; one whose node is lost goes on elsewhere, from its checkpoint."""
        self.seeds, self.stop = seeds, stop
        jobs = {k: self.job(seed, order) for k, seed in enumerate(seeds)}
        try:
            with closing(self.tasks()) as tasks:
                tasks.run(jobs, self.count, stop, self, refresh)
        except ClusterLost as error:
            print(f"swingup: the cluster is lost: {error}", file=sys.stderr)
        for seed in seeds:
            if seed.state not in (*ENDED, "waiting"):
                seed.update({"state": "stopped", "speed": None})

    def tasks(self) -> Tasks:
        """The cluster; InputError if it cannot be used."""
        cluster = cluster_of(self.options, self.threads, self.folder, self.say_of_all)
        return Tasks(cluster, self.threads)

    def say_of_all(self, text: str) -> None:
        """Say something that concerns all seeds that are trained."""
        for seed in self.seeds:
            if seed.state not in (*ENDED, "waiting"):
                self.say(seed, text)

    def job(self, seed: SeedStatus, order: dict[str, Any]) -> Job:
        """The job of one seed."""
        folder = str(seed.folder.absolute())
        lines = [{"env": self.env}, {**order, "seed": seed.seed, "folder": folder}]
        return job(SERVE, lines, self.folder, self.threads, folder)

    def begun(self, k: int, node: str) -> None:
        self.seeds[k].state = "starting"

    def heard(self, k: int, message: dict[str, Any]) -> bool:
        seed = self.seeds[k]
        if "say" in message:
            self.say(seed, message["say"])
            return False
        seed.update(message)
        return seed.state in ENDED

    def lost(self, k: int, why: str) -> None:
        seed = self.seeds[k]
        if seed.state != "waiting":
            seed.update({"state": "waiting", "speed": None})
        self.say(seed, f"its task is lost ({why:.100}); it is started again, from its checkpoint")

    def ended(self, k: int, code: int | None, why: str) -> None:
        seed = self.seeds[k]
        if code == -signal.SIGTERM or self.stop.interrupted or (code is None and not why):
            seed.update({"state": "waiting" if seed.state == "waiting" else "stopped", "speed": None})
        else:
            error = why if code is None else fate(code, self.folder / "output.txt")
            seed.update({"state": "failed", "speed": None, "error": error})
