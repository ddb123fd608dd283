"""Networks of the user's own in the place of `networks.Actor` and `networks.Critic`.

A network is any hashable value with `init(key) -> params` (a pytree of float arrays) and `apply`: of an actor
`apply(params, obs[O]) -> action[A]` in [-1, 1], of a critic `apply(params, obs[O], action[A]) -> q[]`, or
`out[outputs]` where it predicts a distribution. They are made by two functions, `make_actor(obs_size,
action_size)` and `make_critic(obs_size, action_size, outputs)`, where outputs is None for a single number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.errors import InputError

if TYPE_CHECKING:
    from swingup.core.networks import Params

# What `networks=` takes: (make_actor, make_critic).
Makers = tuple[Callable[..., Any], Callable[..., Any]]


@dataclass(frozen=True)
class CustomNetwork:
    """A network of the user's own, with the sizes that the engine needs.

    outputs: a critic's, None for a single number; in_numpy: whether `apply` computes with NumPy, for arrays
    with leading axes, what it computes with JAX; source: the setting `networks`, which names its maker.
    """

    network: Any
    obs_size: int
    action_size: int
    outputs: int | None = None
    in_numpy: bool = False
    source: str = ""

    def init(self, key: Any) -> Params:
        """Initial parameters."""
        return self.network.init(key)

    def apply(self, params: Params, *inputs: Any) -> Any:
        """The network's output; NumPy in, NumPy out, for any leading axes (through JAX where it needs it)."""
        if not isinstance(inputs[0], np.ndarray) or self.in_numpy:
            return self.network.apply(params, *inputs)
        lead = inputs[0].shape[:-1]
        flat = [np.asarray(x, np.float32).reshape(-1, x.shape[-1]) for x in inputs]
        out = np.asarray(over_rows(self.network, len(inputs))(params, *flat))
        return out.reshape(*lead, *out.shape[1:])


@lru_cache(8)
def over_rows(network: Any, inputs: int) -> Any:
    """`apply` of many rows, compiled by JAX."""
    import jax

    return jax.jit(jax.vmap(network.apply, (None, *[0] * inputs)))


def make_networks(
    makers: Makers, obs_size: int, action_size: int, outputs: int | None, source: str
) -> tuple[CustomNetwork, CustomNetwork]:
    """The user's actor and critic for an environment's sizes, tried out; InputError where they do not fit."""
    import jax

    make_actor, make_critic = makers
    obs, action = (np.linspace(-9, 9, 3 * n, dtype=np.float32).reshape(3, n) for n in (obs_size, action_size))
    actor = CustomNetwork(made(make_actor, "actor", obs_size, action_size), obs_size, action_size)
    critic = CustomNetwork(
        made(make_critic, "critic", obs_size, action_size, outputs), obs_size, action_size, outputs
    )
    tried = []
    for name, one, inputs, shape in (
        ("actor", actor, (obs,), (action_size,)),
        ("critic", critic, (obs, np.tanh(action)), () if outputs is None else (outputs,)),
    ):
        params = first_parameters(one, name)
        out = attempt(one.apply, name, params, *inputs)
        if out.shape != (3, *shape):
            raise InputError(
                f"--networks: the {name}'s output for one observation has the shape {out.shape[1:]}, "
                f"expected {shape}"
            )
        if name == "actor" and not np.abs(out).max() <= 1 + 1e-6:
            raise InputError(
                "--networks: the actor's actions leave [-1, 1]; end it with tanh: swingup maps them into "
                "the environment's range"
            )
        same = computes_in_numpy(one, jax.tree.map(np.asarray, params), inputs, out)
        tried.append(CustomNetwork(one.network, obs_size, action_size, one.outputs, same, source))
    return tried[0], tried[1]


def first_parameters(one: CustomNetwork, name: str) -> Params:
    """The parameters that `init` makes; InputError if they are not arrays of floating-point numbers."""
    import jax
    import jax.numpy as jnp

    params = attempt(jax.jit(one.init), name, jax.random.PRNGKey(0))
    odd = [x for x in jax.tree.leaves(params) if not jnp.issubdtype(x.dtype, jnp.floating)]
    if odd or not jax.tree.leaves(params):
        found = f"an array of {odd[0].dtype}" if odd else "no array"
        raise InputError(
            f"--networks: the parameters from the {name}'s init hold {found}; expected arrays of floats only"
        )
    return params


def made(make: Callable[..., Any], name: str, *sizes: int | None) -> Any:
    """The network that a maker makes for these sizes; InputError if it cannot take part in training."""
    found = attempt(make, name, *sizes)
    if not all(callable(getattr(found, method, None)) for method in ("init", "apply")):
        raise InputError(
            f"--networks: the {name} ({found!r:.80}) has no methods init(key) and apply(params, ...)"
        )
    try:
        hash(found)
    except TypeError as error:
        raise InputError(f"--networks: the {name} is not hashable; make it a frozen dataclass") from error
    return found


def attempt(call: Callable[..., Any], name: str, *inputs: Any) -> Any:
    """The result of a user's function; InputError, in one line, with what it raised."""
    try:
        return call(*inputs)
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        raise InputError(f"--networks: the {name} cannot be used ({what})") from error


def computes_in_numpy(one: CustomNetwork, params: Params, inputs: tuple[Any, ...], expected: Any) -> bool:
    """Whether `apply` gives the expected output for NumPy arrays, as a NumPy array."""
    try:
        out = one.network.apply(params, *inputs)
    except Exception:
        return False
    return (
        isinstance(out, np.ndarray) and out.shape == expected.shape and np.allclose(out, expected, atol=1e-5)
    )
