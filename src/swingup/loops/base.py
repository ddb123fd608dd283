"""What every loop has, whoever computes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.core.agent import Learner, Metrics
from swingup.core.engine import Plan, State
from swingup.core.policy import Policy
from swingup.core.replay_buffer import Replay
from swingup.errors import Diverged, InputError
from swingup.types import Episode, Spec


class Tick(NamedTuple):
    """One iteration, seen from outside: environment steps done, the rows[K, N, W] of the last of them, episodes they ended,
    and metrics once learning has begun."""

    step: int
    rows: np.ndarray
    episodes: list[Episode]
    metrics: Metrics | None


class Snapshot(NamedTuple):
    """All that a run is at one moment: arrays by name, the replay ring[C, N, W] and the time steps ever added to it."""

    tensors: dict[str, np.ndarray]
    ring: np.ndarray
    head: int


class Program:
    """A jitted function, its first argument donated, that a thread compiles while the caller goes on."""

    def __init__(self, pool: ThreadPoolExecutor, f: Callable[..., Any], *shapes: Any):
        self.ready = pool.submit(lambda: jax.jit(f, donate_argnums=0).lower(*shapes).compile())

    def __call__(self, *args: Any) -> Any:
        return self.ready.result()(*args)


class Loop:
    """What every loop has: a plan, iterations done, those that replay holds or has held, and a view of the learner. Leaves add `state`,
    `settled`, `tick`, `snapshot`, `resume`, `restore`, `refill`.

    every: step counts at whose multiples someone may look at it (evaluations, checkpoints, rows of the logs); end: the step at which the
    run may be over at the earliest, which moves where a budget counts episodes. In between it may have computed more than it has told.
    """

    state: State
    spec: Spec
    settled: bool  # whether `state` is that of the last tick
    lanes = 1  # seeds in the program that computes it, which decides its bits
    tick: Callable[..., Tick]
    snapshot: Callable[[], Snapshot]
    resume: Callable[[Snapshot], bool]
    restore: Callable[[Learner], None]
    refill: Callable[[Learner, int, np.ndarray], None]

    def __init__(self, plan: Plan, every: tuple[int, ...], end: int):
        self.plan, self.every, self.end, self.iteration = plan, every, end, 0
        self.filled = 0  # less than `iteration` only where replay was lost: learning waits for as many as at the start
        self.q_max = np.zeros((plan.n, 2))  # sum and count since each environment's episode began

    @property
    def steps(self) -> int:
        """Environment steps done, summed over the environments."""
        return self.iteration * self.plan.rows

    def unseen(self, step: int) -> int:
        """Iterations from a step on until someone may look, or until the end."""
        left = [every - step % every for every in self.every] + [self.end - step] * (self.end > step)
        return -(-min(left, default=1) // self.plan.rows)

    def checked(self, out: Any, step: int) -> Metrics:
        """An iteration's metrics, counted; Diverged where a gradient was not finite."""
        metrics = Metrics(*out.tolist())
        if not metrics.finite:
            raise Diverged(
                f"step {step}: a gradient is not finite (critic loss {metrics.critic_loss:.3g}, Q {metrics.q_mean:.3g}); "
                "the weights stayed finite, lower --critic-lr or scale the reward down"
            )
        self.q_max += (metrics.q_max, 1)
        return metrics

    def valued(self, episode: Episode) -> Episode:
        """The episode with its q_max, and the count for the environment's next one begun."""
        total, count = self.q_max[episode.env]
        self.q_max[episode.env] = 0
        return episode._replace(q_max=float(total / count) if count else math.nan)

    def learner(self) -> Learner:
        """The learner of now, as NumPy copies: the device's own buffers are overwritten by the next tick."""
        return jax.tree.map(np.array, self.state.learner)

    def policy(self) -> Policy:
        """The greedy policy of now, as NumPy copies."""
        params, moments = jax.tree.map(np.array, (self.state.learner.actor, self.state.learner.moments))
        if not all(np.isfinite(p).all() for p in jax.tree.leaves(params)):
            raise Diverged(f"step {self.steps}: a weight of the actor is not finite; lower --actor-lr")
        return Policy(self.plan.agent.actor, params, self.spec, moments)

    def ring(self, saved: Snapshot, cut: Any = None) -> Replay:
        """The saved replay on the device, an episode's end marked where cut[N]; InputError where its size is another."""
        if (saved.ring.shape, saved.ring.dtype) != (self.state.replay.rows.shape, self.state.replay.rows.dtype):
            raise InputError(
                f"replay: the saved ring is {saved.ring.shape}, this run's {self.state.replay.rows.shape}; resume with its settings"
            )
        rows = saved.ring
        if cut is not None and cut.any() and saved.head:
            rows = rows.copy()
            self.plan.agent.layout.unpack(rows[(saved.head - 1) % len(rows)]).last[cut] = 1
        return Replay(jnp.array(rows), jnp.int32(saved.head))


def bare(state: State) -> Any:
    """A state without its replay, which is saved in its own way."""
    return state._replace(replay=None)  # type: ignore[arg-type]
