"""The loop whose environments are stepped by workers on a cluster, in lockstep.

While the learner computes an iteration, the workers collect the next one, with the policy of one iteration
before, as in every loop. Rows are put together in the order of the environments, whatever arrives first, so
the bits do not depend on the number of workers or on losses.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.cluster.collector import Collected, Draws, Weights
from swingup.cluster.exploration import Exploration
from swingup.cluster.fleet import ClusterLost, Fleet, State
from swingup.core import agent as algorithm
from swingup.core import engine
from swingup.core.agent import Behaviour, Learner
from swingup.core.engine import Plan
from swingup.core.named_arrays import flatten_named, same_shapes, unflatten_named
from swingup.core.pytrees import device_copy, stream
from swingup.loops.base import BackgroundCompiled, IterationResult, LoopBase, Snapshot, Start, without_ring
from swingup.training.signals import Interrupted
from swingup.types import Spec


class DeviceState(NamedTuple):
    """The state of the loop on the device: the learning side without replay, and the policy that acts."""

    state: Any
    behaviour: Behaviour


class ClusterLoop(LoopBase):
    """`Loop` on a `Fleet` of workers."""

    def __init__(
        self,
        plan: Plan,
        spec: Spec,
        seed: int,
        fleet: Fleet,
        exploration: Exploration,
        *,
        every: tuple[int, ...],
        end: int,
    ):
        super().__init__(plan, every, end)
        self.spec, self.fleet, self.exploration = spec, fleet, exploration
        rows = np.zeros((plan.block, plan.n, plan.agent.layout.width), np.float32)
        self.key = jax.random.PRNGKey(seed)
        self.state = jax.jit(partial(engine.init, plan))(self.key)
        compiler = ThreadPoolExecutor(1, "compile")
        shapes = jax.eval_shape(lambda state: state, self.state)
        self.train_step = BackgroundCompiled(compiler, partial(engine.train_step, plan), shapes, rows)
        compiler.shutdown(wait=False)
        self.warmup_step = jax.jit(partial(engine.warmup_step, plan), donate_argnums=0)
        self.truncate = jax.jit(partial(truncate_newest, plan), donate_argnums=0)
        self.draw_uniform, self.draw_normal = (jax.jit(f, static_argnums=1) for f in (uniforms, normals))
        self.latest = self.behaviour = device_copy(algorithm.behaviour(self.state.learner))
        self.samples = 0  # of the noise, for each environment
        self.learning = False  # whether the iteration before the one that is collected learnt
        self.journals: list[list[np.ndarray]] = [[] for _ in range(plan.n)]
        self.workers: State = {}  # the state of the environments before the rows that are being collected
        self.collecting = False

    @property
    def settled(self) -> bool:
        """Always: what the workers collect ahead is collected again by a run that is resumed here."""
        return True

    def step(self, ahead: bool = True) -> IterationResult:
        del ahead
        if not self.collecting:
            self.open()
        collected = self.receive()
        learning = self.filled >= self.plan.warmup_iterations
        rows = np.concatenate([c.rows for c in collected], axis=1)
        self.note(rows, collected)
        self.behaviour, self.filled = self.latest, self.filled + 1
        self.begin(learning)
        metrics = None
        if learning:
            self.state, (self.latest, metrics) = self.train_step(self.state, rows)
        else:
            self.state, self.latest = self.warmup_step(self.state, rows)
        self.iteration += 1
        result = None if metrics is None else self.check_metrics(np.asarray(metrics), self.steps)
        ended = sorted((e for c in collected for e in c.episodes), key=lambda e: (e[0], e[1].env))
        episodes = [self.finish_episode(episode) for _, episode in ended]
        return IterationResult(self.steps, rows, episodes, result)

    def begin_with(self, start: Start) -> None:
        if start.rows is not None:
            self.state = self.filled_with(self.state, start.rows)
        if start.arrays is not None:  # after the rows, which its statistics of observations have counted
            self.set_learner(self.take_over(start.arrays))
        self.learning = self.filled > self.plan.warmup_iterations

    def open(self) -> None:
        """Make the workers, begin the episodes, and let them collect."""
        self.enter(self.fleet.start([None] * len(self.fleet.shares)))
        self.begin(self.learning)

    def enter(self, answers: list[tuple[Any, np.ndarray, State]]) -> np.ndarray:
        """Take over the state of the workers that began or restored episodes; returns lost[N]."""
        self.workers = joined([state for _, _, state in answers])
        return np.concatenate([lost for _, lost, _ in answers])

    def receive(self) -> list[Collected]:
        """What the workers collected; Interrupted if the cluster is lost: the run can be saved then."""
        try:
            return self.fleet.results(self.state_of, self.restored)
        except ClusterLost as error:
            self.fleet.cluster.say(f"the cluster is lost: {error}")
            raise Interrupted from error

    def begin(self, learning: bool) -> None:
        """Let the workers collect the next iteration; learning: whether the one before learnt."""
        plan, step = self.plan, self.iteration_ahead * self.plan.block
        later = self.filled >= plan.warmup_iterations
        flags = [plan.uniform and not learning] + [plan.uniform and not later] * (plan.block - 1)
        shape = (plan.block, plan.n, self.exploration.action_size)
        drawn = (plan.block, plan.n, *self.exploration.drawn)
        uniform, acting = np.array(flags), ~np.array(flags)
        draws = Draws(
            uniform,
            np.asarray(self.draw_uniform(self.key, shape, step)) if uniform.any() else np.zeros(shape),
            np.asarray(self.draw_normal(self.key, drawn, step)) if acting.any() else np.zeros(drawn),
            self.samples + np.cumsum(acting) - acting,
        )
        weights = Weights(*jax.tree.map(np.asarray, tuple(self.behaviour)))
        self.fleet.begin(weights, draws)
        self.next_samples, self.collecting, self.learning = self.samples + int(acting.sum()), True, learning

    @property
    def iteration_ahead(self) -> int:
        """The number of the iteration that is to be collected."""
        return self.iteration + self.collecting

    def note(self, rows: np.ndarray, collected: list[Collected]) -> None:
        """Keep what restores the environments: their state, and the actions since their episodes began."""
        self.workers, self.samples = joined([c.state for c in collected]), self.next_samples
        parts = self.plan.agent.layout.unpack(rows)
        for i, journal in enumerate(self.journals):
            for k in range(len(rows)):
                journal.append(np.array(parts.action[k, i]))
                if parts.last[k, i]:
                    journal.clear()

    def state_of(self, w: int) -> State:
        """The state from which worker w collects the current rows."""
        share = self.fleet.shares[w]
        part = slice(share.first, share.first + share.n)
        size = self.plan.agent.layout.action_size
        journals = {
            f"journal.{i}": np.array(j, np.float32).reshape(-1, size)
            for i, j in enumerate(self.journals[part])
        }
        return {k: v[part] for k, v in self.workers.items()} | journals

    def restored(self, w: int, lost: np.ndarray) -> None:
        """Truncate the episodes that a new worker could not restore: they have begun again."""
        if lost.any():
            every = np.zeros(self.plan.n, bool)
            every[self.fleet.shares[w].first :][: len(lost)] = lost
            self.state = self.truncate(self.state, every)
            self.q_max[every] = 0
            for i in np.flatnonzero(every):
                self.journals[i].clear()

    def snapshot(self) -> Snapshot:
        ring = self.state.replay
        device = DeviceState(without_ring(self.state), self.behaviour)
        return Snapshot(flatten_named(device) | self.host_state(), np.asarray(ring.rows), int(ring.added))

    def host_state(self) -> dict[str, np.ndarray]:
        """The loop's state on the host, as arrays by their names in a snapshot."""
        if not self.workers:
            self.open()
        size = self.plan.agent.layout.action_size
        journals = {
            f"host.journal.{i}": np.array(j, np.float32).reshape(-1, size)
            for i, j in enumerate(self.journals)
        }
        own = {"host.samples": np.array(self.samples), "host.learning": np.array(self.learning)}
        return {f"host.{k}": v for k, v in self.workers.items()} | journals | own | self.counters()

    def restore(self, saved: Snapshot) -> bool:
        if saved.ring is None:
            self.restore_weights(saved)
            return False
        device = {k: v for k, v in saved.tensors.items() if k.startswith(".")}
        now = DeviceState(without_ring(self.state), self.behaviour)
        restored = unflatten_named(now, device)
        host = {k.removeprefix("host."): v for k, v in saved.tensors.items() if k.startswith("host.")}
        self.journals = [list(host[f"journal.{i}"]) for i in range(self.plan.n)]
        self.workers = {k: host[k] for k in WORKERS}
        same_shapes({f"x.{k}": v for k, v in self.workers.items()}, self.shapes())
        lost = self.enter(self.fleet.start([self.state_of(w) for w in range(len(self.fleet.shares))]))
        self.state = restored.state._replace(replay=self.load_ring(saved, lost))
        self.behaviour = restored.behaviour
        self.latest = device_copy(algorithm.behaviour(self.state.learner))
        self.set_counters(saved)
        self.samples = int(host["samples"])
        for i in np.flatnonzero(lost):
            self.journals[i], self.q_max[i] = [], 0
        self.begin(bool(host["learning"]))
        return not lost.any()

    def shapes(self) -> State:
        """Arrays of the shapes that the state of the workers has."""
        n, o = self.plan.n, self.plan.agent.layout.obs_size
        found: State = {
            "obs": np.zeros((n, o), np.float32),
            "begun": np.zeros(n, np.int64),
            "return": np.zeros(n),
            "length": np.zeros(n, np.int64),
            "noise.episode": np.zeros(n, np.int64),
            "noise.memory": np.zeros((n, *self.exploration.memory), np.float32),
            "noise.first": np.zeros(n, bool),
        }
        return {f"x.{k}": v for k, v in found.items()}

    def restore_weights(self, saved: Snapshot) -> None:
        """Continue with the weights of a snapshot only: new episodes, a new warm-up that fills replay."""
        self.set_learner(self.saved_learner(saved))
        self.iteration, self.episodes = (int(saved.tensors[f"host.{k}"]) for k in ("iteration", "episodes"))
        self.state = self.state._replace(iteration=jnp.int32(self.iteration))
        self.open()

    def set_learner(self, learner: Learner) -> None:
        self.state = self.state._replace(learner=device_copy(learner))
        self.latest = device_copy(algorithm.behaviour(self.state.learner))
        if not self.collecting:
            self.behaviour = self.latest


WORKERS = ("obs", "begun", "return", "length", "noise.episode", "noise.memory", "noise.first")


def joined(states: list[State]) -> State:
    """The states of all shares as one."""
    return {k: np.concatenate([state[k] for state in states]) for k in states[0]}


def uniforms(key: Any, shape: tuple[int, ...], step: Any) -> Any:
    """The actions[K, N, A] of K steps of the warm-up, the numbers that `engine.random_action` draws."""
    draw = lambda k: jax.random.uniform(stream(key, "warmup", step + k), shape[1:], minval=-1, maxval=1)
    return jnp.stack([draw(k) for k in range(shape[0])])


def normals(key: Any, shape: tuple[int, ...], step: Any) -> Any:
    """The normal numbers[K, N, ...] of the noise of K steps, those that `engine.act` draws."""
    draw = lambda k: jax.random.normal(stream(key, "act", step + k), shape[1:])
    return jnp.stack([draw(k) for k in range(shape[0])])


def truncate_newest(plan: Plan, state: engine.State, where: Any) -> engine.State:
    """The state with the newest transitions of the environments in where[N] marked as an episode's last."""
    replay = state.replay
    newest = (replay.added - 1) % replay.rows.shape[0]
    column = plan.agent.layout.obs_size + plan.agent.layout.action_size + 2
    last = jnp.where(where, 1, replay.rows[newest, :, column])
    rows = replay.rows.at[newest, :, column].set(last)
    return state._replace(replay=replay._replace(rows=rows))
