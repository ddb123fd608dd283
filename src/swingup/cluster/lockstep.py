"""The loop in lockstep: its bits depend neither on the number of workers nor on losses.

While the learner computes an iteration, the workers collect the next one, with the policy of one iteration
before, as in every loop. Rows are put together in the order of the environments, whatever arrives first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from swingup.cluster.connection import ClusterLost
from swingup.cluster.fleet import State
from swingup.cluster.loop import RemoteLoop, joined
from swingup.cluster.messages import Collected
from swingup.core.engine import Plan
from swingup.loops.base import IterationResult
from swingup.training.signals import Interrupted


class LockstepLoop(RemoteLoop):
    """`Loop` on workers that wait for one another after each iteration."""

    def __init__(self, plan: Plan, *args: Any, **options: Any):
        super().__init__(plan, *args, **options)
        self.samples = 0  # of the noise, for each environment, before the rows that are being collected
        self.learning = False  # whether the iteration before that one learnt

    def step(self, ahead: bool = True) -> IterationResult:
        del ahead
        if not self.collecting:
            self.open()
        collected = self.receive()
        rows = np.concatenate([c.rows for c in collected], axis=1)
        self.workers, self.samples = joined([c.state for c in collected]), self.next_samples
        self.note_actions(0, rows)
        self.behaviour = self.latest
        self.begin(self.filled >= self.plan.warmup_iterations, 1)
        metrics = self.metrics_of(self.learn(rows))
        ended = sorted((e for c in collected for e in c.episodes), key=lambda e: (e[0], e[1].env))
        episodes = [self.finish_episode(episode) for _, episode in ended]
        return IterationResult(self.steps, rows, episodes, metrics)

    def open(self) -> None:
        self.enter(self.fleet.start([None] * len(self.fleet.shares)))
        self.begin(self.filled > self.plan.warmup_iterations, 0)  # rows may be there from another run

    def receive(self) -> list[Collected]:
        """What the workers collected; Interrupted if the cluster is lost: the run can be saved then."""
        try:
            return self.fleet.results(self.state_of, self.restored)
        except ClusterLost as error:
            self.fleet.cluster.say(f"the cluster is lost: {error}")
            raise Interrupted from error

    def begin(self, learning: bool, ahead: int) -> None:
        """Let the workers collect an iteration; learning: whether the one before learnt; ahead: its number
        after the iterations that are done."""
        plan = self.plan
        later = self.filled + ahead >= plan.warmup_iterations
        uniform = np.array([plan.uniform and not learning] + [plan.uniform and not later] * (plan.block - 1))
        step = (self.iteration + ahead) * plan.block
        self.fleet.begin(self.weights(), self.draws(self.key, plan.n, step, uniform, self.samples))
        self.next_samples, self.collecting = self.samples + int((~uniform).sum()), True
        self.learning = learning

    def restored(self, w: int, lost: np.ndarray) -> None:
        """Truncate the episodes that a new worker could not restore: they have begun again."""
        if lost.any():
            every = np.zeros(self.plan.n, bool)
            every[self.fleet.shares[w].first :][: len(lost)] = lost
            self.state = self.mark_running(self.state, every)
            self.forget(every)

    def host_state(self) -> State:
        own = {"host.samples": np.array(self.samples), "host.learning": np.array(self.learning)}
        return super().host_state() | own

    def go_on(self, host: State) -> None:
        self.samples = int(host["samples"])
        self.begin(bool(host["learning"]), 0)
