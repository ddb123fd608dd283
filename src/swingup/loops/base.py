"""The interface of a training loop, and what `HostLoop` (host.py) and `FusedLoop` (fused.py) share."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from swingup.core import engine, replay_buffer
from swingup.core.agent import Behaviour, Learner, Metrics
from swingup.core.engine import Actors, Plan, State
from swingup.core.named_arrays import flatten_named, unflatten_named
from swingup.core.policy import Policy
from swingup.core.replay_buffer import Replay
from swingup.errors import Diverged, InputError
from swingup.types import Episode, Spec


class IterationResult(NamedTuple):
    """The result of one iteration.

    step: environment steps done so far; rows[K, N, W]; episodes: those that ended in it; metrics: of its
    updates (None in the warm-up).
    """

    step: int
    rows: np.ndarray
    episodes: list[Episode]
    metrics: Metrics | None


class Snapshot(NamedTuple):
    """The complete state of a run at one step.

    tensors: arrays by name; ring[C, N, W]: replay (None if it is lost); added: time steps ever added to it.
    """

    tensors: dict[str, np.ndarray]
    ring: np.ndarray | None
    added: int


class Start(NamedTuple):
    """What a run begins with instead of an untrained learner and empty replay.

    arrays: arrays of the learner by their names there, which replace the untrained ones; rows[M, W]:
    transitions in order of time for replay, the last of each trajectory marked, which the learner of the
    arrays has seen; demos[M, W]: others, which it has not seen. None: there are none.
    """

    arrays: dict[str, np.ndarray] | None = None
    rows: np.ndarray | None = None
    demos: np.ndarray | None = None


class Loop(Protocol):
    """A training loop: it collects rows, learns from them, and can be saved and restored.

    A loop may compute ahead of what it has reported. While it has not, it is `settled`; snapshots, `learner`
    and evaluations require that. every: intervals in environment steps after which it is settled; end: the
    earliest step at which the run may be over; the loop never computes beyond it.
    """

    plan: Plan
    spec: Spec
    every: tuple[int, ...]
    end: int
    seeds_in_program: int
    episodes: int

    @property
    def steps(self) -> int:
        """Environment steps reported so far, summed over the environments."""

    @property
    def settled(self) -> bool:
        """Whether every computed iteration has been reported."""

    def step(self, ahead: bool = True) -> IterationResult:
        """One iteration: K steps of every environment and the updates due for them.

        ahead: whether the next iteration may be started meanwhile. Raises EnvFault before a faulty transition
        reaches replay, Diverged before a gradient that is not finite reaches the weights.
        """

    @property
    def between_episodes(self) -> bool:
        """Whether an episode of every environment has ended in the last iteration."""

    def snapshot(self) -> Snapshot:
        """The current state of a settled loop. Its arrays may be views: use them before the next step."""

    def restore(self, saved: Snapshot) -> bool:
        """Restore a snapshot; returns whether the run continues from there bit for bit.

        If an environment does not come back to the same bits, its episode ends there as if truncated and a
        new one starts. Without a ring only the weights are restored and a new warm-up fills replay. Raises
        InputError if the snapshot has other networks, sizes or options, ValueError or LookupError if another
        kind of loop made it.
        """

    def begin_with(self, start: Start) -> None:
        """Take over what the run begins with, before its first step; rows count for the warm-up."""

    def policy(self) -> Policy:
        """The current greedy policy, as NumPy copies."""

    def learner(self) -> Learner:
        """The current learner, as NumPy copies."""

    def set_learner(self, learner: Learner) -> None:
        """Continue with an earlier learner; replay, noise and counters stay."""


class LoopBase:
    """What both loops share: counters, the check of an iteration's metrics, and copies of the learner.

    every: the intervals of logs, evaluations and checkpoints in environment steps; end: as in `Loop`.
    """

    state: State
    spec: Spec
    seeds_in_program = 1

    def __init__(self, plan: Plan, every: tuple[int, ...], end: int):
        self.plan, self.every, self.end = plan, every, end
        self.iteration = self.episodes = 0
        self.filled = 0  # iterations added to replay; fewer than `iteration` only if replay was lost
        self.q_max = np.zeros((plan.n, 2))  # sum and count since each environment's episode began
        self.newest_q_max = math.nan  # of the iteration that is reported

    @property
    def steps(self) -> int:
        return self.iteration * self.plan.rows

    @property
    def between_episodes(self) -> bool:
        return False  # where environments are never shared

    def iterations_until_seen(self, step: int) -> int:
        """Iterations from a step until a log, an evaluation, a checkpoint or the end is due."""
        left = [every - step % every for every in self.every] + [self.end - step] * (self.end > step)
        return -(-min(left, default=1) // self.plan.rows)

    def check_metrics(self, array: Any, step: int) -> Metrics:
        """An iteration's metrics from the device's array; Diverged if a gradient was not finite."""
        metrics = Metrics(*array.tolist())
        if not metrics.finite:
            raise Diverged(
                f"step {step}: a gradient is not finite (critic loss {metrics.critic_loss:.3g}, "
                f"Q {metrics.q_mean:.3g}); the weights stayed finite, "
                "lower --critic-lr or scale the reward down"
            )
        self.q_max += (metrics.q_max, 1)
        self.newest_q_max = metrics.q_max
        return metrics

    def finish_episode(self, episode: Episode) -> Episode:
        """The episode with its mean q_max; the environment's sum starts again at zero.

        A second episode that ends in the same iteration has that iteration's q_max.
        """
        self.episodes += 1
        total, count = self.q_max[episode.env]
        self.q_max[episode.env] = 0
        return episode._replace(q_max=float(total / count) if count else self.newest_q_max)

    def learner(self) -> Learner:
        # Copies: the next step overwrites the device's current buffers.
        return jax.tree.map(np.array, self.state.learner)

    def policy(self) -> Policy:
        params, statistics = jax.tree.map(
            np.array, (self.state.learner.actor, self.state.learner.obs_statistics)
        )
        if not all(np.isfinite(p).all() for p in jax.tree.leaves(params)):
            raise Diverged(f"step {self.steps}: a weight of the actor is not finite; lower --actor-lr")
        return Policy(self.plan.agent.actor, params, self.spec, statistics, self.plan.agent.history)

    def started(self, state: State, start: Start) -> State:
        """A state (donated) with what the run begins with."""
        if start.rows is not None:
            state = self.filled_with(state, start.rows)
        if start.arrays is not None:  # after the rows, which its statistics of observations have counted
            named = flatten_named(state.learner) | start.arrays
            state = state._replace(learner=unflatten_named(state.learner, named))
        if start.demos is not None:
            state = self.filled_with(state, start.demos)
            if self.plan.demos is not None:
                shown = Replay(jnp.array(start.demos[:, None]), jnp.int32(len(start.demos)))
                state = state._replace(demos=shown)
        return state

    def mark_running(self, state: State, where: Any = True) -> State:
        """A state (donated) whose newest transitions, of the environments in where[N], end their episodes."""
        mark = partial(replay_buffer.truncate, self.plan.agent.layout)
        return state._replace(replay=jax.jit(mark, donate_argnums=0)(state.replay, where))

    def saved_demos(self, saved: Snapshot) -> Replay | None:
        """The demonstrations of a snapshot that are kept beside replay; InputError if they do not fit."""
        name = ".state.demos"
        arrays = {k.removeprefix(name): v for k, v in saved.tensors.items() if k.startswith(name)}
        return unflatten_named(self.state.demos, arrays)

    def filled_with(self, state: State, rows: np.ndarray) -> State:
        """A state (donated) with rows[M, W] in its replay; they count as iterations of the warm-up."""
        columns = in_columns(self.plan, rows)
        self.filled += len(columns) // self.plan.block
        return jax.jit(partial(engine.fill, self.plan), donate_argnums=0)(state, columns)

    def first_actions(self, obs: Any) -> tuple[Behaviour, Actors, Any]:
        """The collecting side before the first step, after replay or the learner has changed."""
        return jax.jit(partial(engine.first_actions, self.plan, self.filled))(self.state, obs)

    def counters(self) -> dict[str, np.ndarray]:
        """The host's counters, as arrays by their names in a snapshot."""
        counted = {"q_max": self.q_max, "iteration": self.iteration, "episodes": self.episodes}
        return {f"host.{name}": np.array(value) for name, value in counted.items()}

    def set_counters(self, saved: Snapshot) -> None:
        """Restore the counters of a snapshot."""
        self.q_max = saved.tensors["host.q_max"].copy()
        self.iteration, self.episodes = (int(saved.tensors[f"host.{k}"]) for k in ("iteration", "episodes"))
        self.filled = saved.added // self.plan.block

    def saved_learner(self, saved: Snapshot) -> Learner:
        """The learner of a snapshot; InputError if its networks are not this run's."""
        name = ".state.learner"
        arrays = {k.removeprefix(name): v for k, v in saved.tensors.items() if k.startswith(name)}
        return unflatten_named(self.state.learner, arrays)

    def load_ring(self, saved: Snapshot, truncated: Any = None) -> Replay:
        """The saved replay on the device, the newest transitions of truncated[N] marked as an episode's last.

        Raises InputError if its size is not this run's.
        """
        rows, current = saved.ring, self.state.replay.rows
        if rows is None or (rows.shape, rows.dtype) != (current.shape, current.dtype):
            found = "missing" if rows is None else rows.shape
            raise InputError(
                f"replay: the saved ring is {found}, this run's is {current.shape}; resume with its settings"
            )
        if truncated is not None and truncated.any() and saved.added:
            rows = rows.copy()
            newest = rows[(saved.added - 1) % len(rows), :: self.plan.copies]
            self.plan.agent.layout.unpack(newest).last[truncated] = 1
        return Replay(jnp.array(rows), jnp.int32(saved.added))


class BackgroundCompiled:
    """A jitted function, its first argument donated, that a thread compiles in the background."""

    def __init__(self, pool: ThreadPoolExecutor, f: Callable[..., Any], *shapes: Any):
        self.ready = pool.submit(lambda: jax.jit(f, donate_argnums=0).lower(*shapes).compile())

    def __call__(self, *args: Any) -> Any:
        return self.ready.result()(*args)


def in_columns(plan: Plan, rows: np.ndarray) -> np.ndarray:
    """rows[M, W] as [T, N, W] for the N columns of replay: each has consecutive rows; the block divides T.

    The columns are filled up with the first rows again. The last row of each is marked as an episode's last:
    the rows that are collected after it do not continue it.
    """
    time = -(-len(rows) // (plan.block * plan.columns)) * plan.block
    columns = np.ascontiguousarray(np.resize(rows, (plan.columns, time, rows.shape[1])).swapaxes(0, 1))
    plan.agent.layout.unpack(columns[-1]).last[:] = 1
    return columns


def without_ring(state: State) -> Any:
    """A state without its replay, which a snapshot holds separately."""
    return state._replace(replay=None)  # type: ignore[arg-type]
