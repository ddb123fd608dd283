"""The loop in free running: rows are learnt from as they arrive, in the manner of Ape-X (1803.00933).

No worker waits for another. A worker returns a segment of each of its environments, K steps, numbered without
a gap for each environment; an iteration learns from the N segments that arrived first. A journal has the
number of every segment that was learnt from. The bits depend on what arrives first; nothing is lost or learnt
from twice.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from swingup.cluster.connection import ClusterLost
from swingup.cluster.fleet import State
from swingup.cluster.loop import RemoteLoop
from swingup.cluster.messages import Collected, Draws
from swingup.core.engine import Plan
from swingup.loops.base import IterationResult
from swingup.training.signals import Interrupted
from swingup.types import Episode

AHEAD = 2  # iterations that may wait to be learnt from; workers pause while there are more


class Segment(NamedTuple):
    """K steps of an environment: its number, the segment's number there, rows[K, W], episodes that ended."""

    env: int
    number: int
    rows: np.ndarray
    episodes: list[Episode]


class Journal:
    """journal.csv of a run folder: a line for each segment that was learnt from."""

    def __init__(self, path: Path):
        self.path = path
        self.lines: list[str] = []

    def add(self, iteration: int, segments: list[Segment]) -> None:
        """Note the segments of an iteration; `flush` writes them."""
        self.lines += [f"{iteration},{s.env},{s.number}\n" for s in segments]

    def flush(self) -> None:
        """Write what was noted."""
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8") as file:
            file.write("iteration,env,segment\n" * new + "".join(self.lines))
        self.lines = []

    def cut(self, iteration: int) -> None:
        """Drop what was written after an iteration, from which the run goes on."""
        with suppress(FileNotFoundError):
            head, *lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and int(line.split(",")[0]) <= iteration]
            self.path.write_text(head + "".join(kept), encoding="utf-8")


class FreeLoop(RemoteLoop):
    """`Loop` on workers that never wait for one another."""

    def __init__(self, plan: Plan, *args: Any, journal: Journal, **options: Any):
        super().__init__(plan, *args, **options)
        self.journal = journal
        self.queue: deque[Segment] = deque()
        self.numbers = np.zeros(plan.n, np.int64)  # segments received of each environment
        self.idle: set[int] = set()  # workers that pause

    def step(self, ahead: bool = True) -> IterationResult:
        del ahead
        if not self.collecting:
            self.open()
        self.receive()
        segments = [self.queue.popleft() for _ in range(self.plan.n)]
        rows = np.stack([segment.rows for segment in segments], axis=1)
        self.journal.add(self.iteration + 1, segments)
        metrics = self.learn(self.separated(rows))
        self.behaviour = self.latest
        self.fleet.publish(self.weights())
        self.wake()
        result = self.metrics_of(metrics)
        episodes = [self.finish_episode(e) for segment in segments for e in segment.episodes]
        return IterationResult(self.steps, rows, episodes, result)

    def separated(self, rows: np.ndarray) -> np.ndarray:
        """The rows with each segment's last one marked: what follows it in replay is another environment's.

        A return over n steps ends there with a bootstrap, as at a truncation.
        """
        marked = rows.copy()
        self.plan.agent.layout.unpack(marked[-1]).last[:] = 1
        return marked

    def open(self) -> None:
        self.enter(self.fleet.start([None] * len(self.fleet.shares)))
        self.release()

    def release(self) -> None:
        """Let every worker collect."""
        self.collecting = True
        self.fleet.publish(self.weights())
        for w in range(len(self.fleet.shares)):
            self.fleet.ask(w, self.draws_of(w))

    def wake(self) -> None:
        """Let the workers that pause go on, unless too many segments wait."""
        while self.idle and len(self.queue) < AHEAD * self.plan.n:
            w = self.idle.pop()
            self.fleet.ask(w, self.draws_of(w))

    def receive(self) -> None:
        """Wait until N segments are there; Interrupted if the cluster is lost: the run can be saved then."""
        try:
            while len(self.queue) < self.plan.n:
                self.accept(*self.fleet.next(self.state_of, self.restored))
        except ClusterLost as error:
            self.fleet.cluster.say(f"the cluster is lost: {error}")
            raise Interrupted from error

    def accept(self, w: int, collected: Collected) -> None:
        """Take over what a worker collected, and let it go on."""
        share = self.fleet.shares[w]
        part = slice(share.first, share.first + share.n)
        for i in range(share.n):
            env = share.first + i
            ended = [episode for _, episode in collected.episodes if episode.env == env]
            self.queue.append(Segment(env, int(self.numbers[env]), collected.rows[:, i], ended))
        for name, values in collected.state.items():
            self.workers[name][part] = values
        self.note_actions(share.first, collected.rows)
        self.numbers[part] += 1
        self.idle.add(w)
        self.wake()

    def draws_of(self, w: int) -> Draws:
        """The random numbers of a worker's next segments."""
        share, plan = self.fleet.shares[w], self.plan
        number = int(self.numbers[share.first])
        step, warm = number * plan.block, plan.uniform and self.filled < plan.warmup_iterations
        key = jax.random.fold_in(self.key, share.first + 1)
        return self.draws(key, share.n, step, np.full(plan.block, warm), step * (not warm))

    def restored(self, w: int, lost: np.ndarray) -> None:
        """Forget the episodes that a new worker could not restore; segments are separate in replay anyway."""
        if lost.any():
            every = np.zeros(self.plan.n, bool)
            every[self.fleet.shares[w].first :][: len(lost)] = lost
            self.forget(every)

    def host_state(self) -> State:
        found = super().host_state()
        self.journal.flush()
        k, width = self.plan.block, self.plan.agent.layout.width
        episodes = [[i, *e[:-1]] for i, s in enumerate(self.queue) for e in s.episodes]
        return found | {
            "host.numbers": self.numbers.copy(),
            "host.queue.rows": np.array([s.rows for s in self.queue], np.float32).reshape(-1, k, width),
            "host.queue.names": np.array([[s.env, s.number] for s in self.queue], np.int64).reshape(-1, 2),
            "host.queue.episodes": np.array(episodes, np.float64).reshape(-1, 7),
        }

    def go_on(self, host: State) -> None:
        """Take over the segments that waited; each worker goes on after the last one of its environments."""
        ended: list[list[Episode]] = [[] for _ in host["queue.rows"]]
        for i, env, number, seed, ret, length, terminated in host["queue.episodes"].tolist():
            ended[int(i)].append(
                Episode(int(env), int(number), int(seed), ret, int(length), bool(terminated))
            )
        names = host["queue.names"].tolist()
        self.queue = deque(
            Segment(env, number, rows, episodes)
            for (env, number), rows, episodes in zip(names, host["queue.rows"], ended, strict=True)
        )
        self.numbers = host["numbers"].copy()
        self.journal.cut(self.iteration)
        self.release()
