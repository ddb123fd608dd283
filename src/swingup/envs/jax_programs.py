"""Reset and step of N environments written in JAX as programs that round alike everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swingup.envs.api import JaxEnv, JaxGoalEnv


def programs(env: JaxEnv) -> tuple[Callable, Callable]:
    """Reset and step of N environments, as two pure functions.

    They are (seed[N] uint32) -> states, obs[N, O] and (states, action[N, A]) -> states, Outcome. Each is
    wrapped in `isolate_rounding`, so that the host loop and the fused loop, which both call them, give the
    same bytes.
    """
    import jax

    return (
        isolate_rounding(lambda seeds: jax.vmap(lambda seed: env.reset(jax.random.key(seed)))(seeds)),
        isolate_rounding(lambda states, action: jax.vmap(env.step)(states, action)),
    )


def judging(env: JaxGoalEnv) -> Callable:
    """The worth of steps to goals, as a pure function: achieved[M, G], desired[M, G] -> Judgement of [M]."""
    import jax

    return isolate_rounding(lambda achieved, desired: jax.vmap(env.judge)(achieved, desired))


def isolate_rounding(f: Callable) -> Callable:
    """Wrap f so that its arithmetic is rounded alike in every program that calls it.

    XLA's CPU compiler rounds a product and a sum once or twice, depending on what else it fuses with them. It
    fuses nothing from outside into a branch (an optimization barrier does not prevent it), and in a loop it
    treats constants as it does in a `scan`. So f runs in a branch that is always taken, in a loop that runs
    once. On other backends both would cost round trips to the host, so f is called as it is. The last
    argument of f is an array of 32-bit numbers with at least one element.
    """
    import jax
    import jax.numpy as jnp

    def run(*args: Any) -> Any:
        if jax.default_backend() != "cpu":
            return f(*args)
        bits = jax.lax.bitcast_convert_type(jnp.ravel(args[-1])[0], jnp.uint32)
        always = (bits | 1) != 0  # true, but XLA cannot know it
        empty = jax.tree.map(lambda s: jax.lax.full(s.shape, 0, s.dtype), jax.eval_shape(f, *args))
        once = lambda *_: jax.lax.cond(always, f, lambda *_: empty, *args)
        return jax.lax.fori_loop(0, always.astype(jnp.int32), once, empty)

    return run


@cache
def compiled(env: JaxEnv) -> tuple[Callable, Callable, Callable]:
    """`programs`, compiled and cached for each environment, and a function that merges states.

    The third is (where[N], new states, old states) -> states.
    """
    import jax
    import jax.numpy as jnp

    merge = jax.vmap(lambda here, new, old: jax.tree.map(lambda a, b: jnp.where(here, a, b), new, old))
    reset, advance = programs(env)
    return jax.jit(reset), jax.jit(advance), jax.jit(merge)


@cache
def compiled_judge(env: JaxGoalEnv) -> Callable:
    """`judging`, compiled and cached for each environment."""
    import jax

    return jax.jit(judging(env))
