"""Environments in JAX by name, and a host's view of them: N in lockstep behind the same protocol as Gymnasium's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from swingup.envs.api import JaxEnv, Step, check_finite, fault


def programs(env: JaxEnv) -> tuple[Callable, Callable]:
    """What N environments do, as two pure functions: (seed[N] uint32 -> states, obs[N, O]) and (states, action[N, A] -> states, Outcome).

    Each is sealed, so that a loop on the host and a compiled one that both call them give the same bytes.
    """
    import jax

    return (
        sealed(lambda seeds: jax.vmap(lambda seed: env.reset(jax.random.key(seed)))(seeds)),
        sealed(lambda states, action: jax.vmap(env.step)(states, action)),
    )


def sealed(f: Callable) -> Callable:
    """A function whose arithmetic is rounded alike in whatever program calls it: a branch always taken, in a loop of one turn.

    XLA's CPU compiler turns a product and a sum into one rounding or two, depending on what else it fuses them with. Into a branch
    it fuses nothing from outside (an optimization barrier does not stop it), and around a loop it treats constants as it
    does in a `scan`. Elsewhere both would cost round trips to the host, so f stays as it is there. The last argument of f
    is an array of 32-bit numbers with at least one element.
    """
    import jax
    import jax.numpy as jnp

    def run(*args: Any) -> Any:
        if jax.default_backend() != "cpu":
            return f(*args)
        bits = jax.lax.bitcast_convert_type(jnp.ravel(args[-1])[0], jnp.uint32)
        always = (bits | 1) != 0  # which XLA cannot know
        empty = jax.tree.map(lambda s: jax.lax.full(s.shape, 0, s.dtype), jax.eval_shape(f, *args))
        once = lambda *_: jax.lax.cond(always, f, lambda *_: empty, *args)
        return jax.lax.fori_loop(0, always.astype(jnp.int32), once, empty)

    return run


@cache
def compiled(env: JaxEnv) -> tuple[Callable, Callable, Callable]:
    """`programs`, compiled once for all hosts of an environment, and (where[N], new states, old states -> states) to mix them."""
    import jax
    import jax.numpy as jnp

    merge = jax.vmap(lambda here, new, old: jax.tree.map(lambda a, b: jnp.where(here, a, b), new, old))
    begin, advance = programs(env)
    return jax.jit(begin), jax.jit(advance), jax.jit(merge)


class JaxHost:
    """N environments written in JAX, stepped together by one compiled program; every value is checked before it leaves.

    env: hashable, as a frozen dataclass is; name: what errors and the Spec call it; limit: steps after which an episode is
    truncated, where its own is not smaller. `states` holds the N states, `count` the episodes begun and the steps in this one.
    """

    def __init__(self, env: JaxEnv, n: int = 1, name: str | None = None, limit: int | None = None):
        self.env, self.n = env, n
        self.spec = replace(env.spec, env=name) if name else env.spec
        self.limit = min((k for k in (env.limit, limit) if k is not None), default=None)
        self.count = np.zeros((n, 2), np.int64)
        self.states: Any = None
        self.begin, self.advance, self.merge = compiled(env)

    def reset(self, seeds: Sequence[int | None]) -> np.ndarray:
        fresh = np.array([seed is not None for seed in seeds])
        states, obs = self.begin(np.array([seed or 0 for seed in seeds], np.uint32))
        self.take(fresh, states)
        self.count[fresh, 0] += 1
        self.count[fresh, 1] = 0
        obs = np.array(obs, np.float32)
        self.check(obs, np.zeros(self.n), fresh)
        return obs

    def step(self, action: np.ndarray) -> Step:
        self.states, outcome = self.advance(self.states, np.asarray(action, np.float32))
        self.count[:, 1] += 1
        obs, reward = np.array(outcome.obs, np.float32), np.array(outcome.reward, np.float64)
        self.check(obs, reward, np.ones(self.n, bool))
        truncated = np.zeros(self.n, bool) if self.limit is None else self.count[:, 1] >= self.limit
        return Step(obs, reward, np.array(outcome.terminated, bool), truncated)

    def replay(self, i: int, seed: int, actions: np.ndarray) -> np.ndarray:
        # All N go through it and one of them stays: another program could round differently.
        states, obs = self.begin(np.full(self.n, seed, np.uint32))
        for action in np.asarray(actions, np.float32):
            states, (obs, *_) = self.advance(states, np.tile(action, (self.n, 1)))
        self.take(np.arange(self.n) == i, states)
        self.count[i] += (1, 0)
        self.count[i, 1] = len(actions)
        return np.array(obs[i])

    def take(self, where: np.ndarray, states: Any) -> None:
        """Put in the states of where[N]; the others keep theirs, bit by bit."""
        self.states = states if self.states is None else self.merge(where, states, self.states)

    def check(self, obs: np.ndarray, reward: np.ndarray, where: np.ndarray) -> None:
        """EnvFault unless obs[N, O] and reward[N] are finite in where[N]."""
        bad = where & ~(np.isfinite(obs).all(1) & np.isfinite(reward))
        for i in np.flatnonzero(bad):
            episode, step = self.count[i]
            place = f"environment {self.spec.env} [{i}], episode {episode - 1}, step {step}"
            check_finite(obs[i], place)
            raise fault(place, f"the reward is {reward[i]}", "mend the environment; nothing of this step was stored")

    def close(self) -> None:
        self.states = None
