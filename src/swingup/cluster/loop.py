"""What the loops have in common whose environments are stepped by workers on a cluster.

The learner keeps what restores every environment: the state of its episode before the rows that are being
collected, and the actions since the episode began.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.cluster.exploration import Exploration
from swingup.cluster.fleet import Fleet, State
from swingup.cluster.messages import Draws, Weights
from swingup.core import agent as algorithm
from swingup.core import engine
from swingup.core.agent import Behaviour, Learner, Metrics
from swingup.core.engine import Plan
from swingup.core.named_arrays import flatten_named, same_shapes, unflatten_named
from swingup.core.pytrees import device_copy, stream
from swingup.loops.base import BackgroundCompiled, LoopBase, Snapshot, Start, without_ring
from swingup.types import Spec


class DeviceState(NamedTuple):
    """The state of the loop on the device: the learning side without replay, and the policy that acts."""

    state: Any
    behaviour: Behaviour


class RemoteLoop(LoopBase):
    """The base of `lockstep.LockstepLoop` and `free.FreeLoop`."""

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
        self.draw_uniform, self.draw_normal = (jax.jit(f, static_argnums=1) for f in (uniforms, normals))
        self.latest = self.behaviour = device_copy(algorithm.behaviour(self.state.learner))
        self.journals: list[list[np.ndarray]] = [[] for _ in range(plan.n)]
        self.workers: State = {}  # the state of the environments before the rows that are being collected
        self.collecting = False

    @property
    def settled(self) -> bool:
        """Always: what the workers collect ahead is collected again by a run that is resumed here."""
        return True

    def open(self) -> None:
        """Make the workers, begin the episodes, and let them collect."""
        raise NotImplementedError

    def learn(self, rows: np.ndarray) -> Any:
        """Add rows[K, N, W] to replay and start their updates; returns the metrics, None in the warm-up."""
        metrics = None
        if self.filled >= self.plan.warmup_iterations:
            self.state, (self.latest, metrics) = self.train_step(self.state, rows)
        else:
            self.state, self.latest = self.warmup_step(self.state, rows)
        self.filled += 1
        self.iteration += 1
        return metrics

    def begin_with(self, start: Start) -> None:
        self.state = self.started(self.state, start)
        self.set_learner(self.state.learner)

    def metrics_of(self, metrics: Any) -> Metrics | None:
        """The metrics of an iteration, once they are computed."""
        return None if metrics is None else self.check_metrics(np.asarray(metrics), self.steps)

    def weights(self) -> Weights:
        """The policy that acts, as NumPy arrays."""
        return Weights(*jax.tree.map(np.asarray, tuple(self.behaviour)))

    def draws(self, key: Any, n: int, step: int, uniform: np.ndarray, samples: int) -> Draws:
        """The random numbers of K steps of n environments from a step on; uniform[K]: see `Draws`."""
        acting = ~uniform
        shape = (len(uniform), n, self.exploration.action_size)
        drawn = (len(uniform), n, *self.exploration.drawn)
        return Draws(
            uniform,
            np.asarray(self.draw_uniform(key, shape, step)) if uniform.any() else np.zeros(shape),
            np.asarray(self.draw_normal(key, drawn, step)) if acting.any() else np.zeros(drawn),
            samples + np.cumsum(acting) - acting,
        )

    def note_actions(self, first: int, rows: np.ndarray) -> None:
        """Keep the actions of rows[K, n, W] of the environments from `first` on, of running episodes only."""
        parts = self.plan.agent.layout.unpack(rows)
        for i in range(rows.shape[1]):
            ends = np.flatnonzero(parts.last[:, i])
            if len(ends):
                self.journals[first + i] = []
            self.journals[first + i] += list(parts.action[ends[-1] + 1 if len(ends) else 0 :, i].copy())

    def forget(self, where: np.ndarray) -> None:
        """Drop what is known of the episodes of the environments in where[N]: they have begun new ones."""
        self.q_max[where] = 0
        for i in np.flatnonzero(where):
            self.journals[i] = []

    def enter(self, answers: list[tuple[Any, np.ndarray, State]]) -> np.ndarray:
        """Take over the state of the workers that began or restored episodes; returns lost[N]."""
        self.workers = joined([state for _, _, state in answers])
        return np.concatenate([lost for _, lost, _ in answers])

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
        return {f"host.{k}": v for k, v in self.workers.items()} | journals | self.counters()

    def restore(self, saved: Snapshot) -> bool:
        if saved.ring is None:
            self.restore_weights(saved)
            return False
        device = {k: v for k, v in saved.tensors.items() if k.startswith(".")}
        restored = unflatten_named(DeviceState(without_ring(self.state), self.behaviour), device)
        host = {k.removeprefix("host."): v for k, v in saved.tensors.items() if k.startswith("host.")}
        self.journals = [list(host[f"journal.{i}"]) for i in range(self.plan.n)]
        self.workers = {k: host[k] for k in WORKERS}
        same_shapes({f"x.{k}": v for k, v in self.workers.items()}, self.shapes())
        lost = self.enter(self.fleet.start([self.state_of(w) for w in range(len(self.fleet.shares))]))
        self.state = restored.state._replace(replay=self.load_ring(saved, lost))
        self.behaviour = restored.behaviour
        self.latest = device_copy(algorithm.behaviour(self.state.learner))
        self.set_counters(saved)
        self.forget(lost)
        self.go_on(host)
        return not lost.any()

    def go_on(self, host: State) -> None:
        """Let the workers collect again; host: what else a snapshot's `host_state` has."""
        raise NotImplementedError

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
        demos = self.saved_demos(saved)
        self.state = self.state._replace(iteration=jnp.int32(self.iteration), demos=demos)
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
