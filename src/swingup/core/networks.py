"""Actor and critic networks: functions of explicit parameters, for one observation at a time; callers `vmap`.

A network is a frozen dataclass with `init(key) -> params` and `apply(params, ...)`; any hashable object with
these two methods can take its place. `apply` uses only the array API, so the same code runs compiled under
JAX in training and in NumPy where a trained policy is deployed (JAX is imported only to draw weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Params = Any


def fan_in(u, inputs):
    """U(-1/sqrt(f), 1/sqrt(f)) for fan-in f, from u in U(-1, 1) (DDPG paper, section 7)."""
    return u / math.sqrt(inputs)


def small(u, inputs):
    """U(-3e-3, 3e-3), so that the first actions and values are near zero (DDPG paper, section 7)."""
    del inputs
    return 3e-3 * u


def truncated_normal(u, inputs):
    """N(0, 0.02^2) cut at two sd, by inverting its distribution: tflearn's weights (the 2017 tutorial)."""
    del inputs
    import jax

    return 0.02 * math.sqrt(2) * jax.lax.erf_inv(u * math.erf(math.sqrt(2)))


def zero(u, inputs):
    """Zeros."""
    del inputs
    return 0 * u


@dataclass(frozen=True)
class Init:
    """Initial weights and biases of hidden and last layers, each a function of u in U(-1, 1) and fan-in."""

    hidden: Callable = fan_in
    hidden_bias: Callable = fan_in
    last: Callable = small
    last_bias: Callable = small


PAPER = Init()
TFLEARN = Init(hidden=truncated_normal, hidden_bias=zero, last=small, last_bias=zero)


def init_layers(key, init: Init, sizes, norm=False, action_size=0, action_layer=-1):
    """Parameters of a stack of layers: a tuple of dictionaries of arrays, one per layer.

    `w[in, out]`, `b[out]`, `a[A, out]` in the layer where the action joins, `scale[out]` under layer norm.
    One draw serves the whole network: a draw per array took 1.5 s to compile, this takes 0.2 s.
    """
    import jax
    import jax.numpy as jnp

    shapes, rules = [], []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        joins = action_size if i == action_layer else 0
        last = i == len(sizes) - 2
        weight, bias = (init.last, init.last_bias) if last else (init.hidden, init.hidden_bias)
        layer = {"w": (inputs, outputs), "b": (outputs,)} | ({"a": (joins, outputs)} if joins else {})
        shapes.append(layer)
        rules.append({k: (bias if k == "b" else weight, inputs + joins) for k in layer})
    ends = jax.tree.leaves(shapes, is_leaf=lambda x: isinstance(x, tuple))
    u = jax.random.uniform(
        key, (sum(math.prod(s) for s in ends),), dtype=jnp.result_type(float), minval=-1, maxval=1
    )
    params: list[dict[str, Any]] = []
    start = 0
    for layer, rule in zip(shapes, rules, strict=True):
        params.append({})
        for name, shape in layer.items():
            piece = u[start : start + math.prod(shape)].reshape(shape)
            params[-1][name] = rule[name][0](piece, rule[name][1])
            start += math.prod(shape)
    for normed in params[:-1] if norm else []:
        normed["scale"] = jnp.ones_like(normed["b"])
    return tuple(params)


def relu(xp, z):
    """max(z, 0)."""
    return xp.maximum(z, 0)


def elu(xp, z):
    """z above zero, e^z - 1 below (1511.07289)."""
    return xp.where(z > 0, z, xp.expm1(xp.where(z > 0, 0, z)))


def silu(xp, z):
    """z / (1 + e^-z) (1606.08415), through tanh, which does not overflow."""
    return z * (0.5 + 0.5 * xp.tanh(0.5 * z))


def tanh(xp, z):
    """The hyperbolic tangent."""
    return xp.tanh(z)


ACTIVATIONS: dict[str, Callable] = {"relu": relu, "elu": elu, "silu": silu, "tanh": tanh}


def hidden(layer, z, activation="relu"):
    """The output of a hidden layer from its products z[*, out]: norm if it has a scale, bias, activation.

    Layer norm (1607.06450) uses the layer's bias: (z - mean) / sd * scale + b over the layer's units.
    """
    xp = z.__array_namespace__()
    if "scale" in layer:
        centred = z - xp.mean(z, axis=-1, keepdims=True)
        z = centred / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + 1e-5) * layer["scale"]
    return ACTIVATIONS[activation](xp, z + layer["b"])


@dataclass(frozen=True)
class Actor:
    """The deterministic policy: obs[O] -> action[A] in [-1, 1], by tanh (DDPG paper, section 7)."""

    obs_size: int
    action_size: int
    hidden: tuple[int, ...] = (400, 300)
    weights: Init = PAPER
    layer_norm: bool = False
    activation: str = "relu"

    def init(self, key) -> Params:
        """Initial parameters."""
        return init_layers(
            key, self.weights, (self.obs_size, *self.hidden, self.action_size), self.layer_norm
        )

    def apply(self, params: Params, obs):
        """obs[*, O] -> action[*, A]."""
        h = obs
        for layer in params[:-1]:
            h = hidden(layer, h @ layer["w"], self.activation)
        out = h @ params[-1]["w"] + params[-1]["b"]
        return out.__array_namespace__().tanh(out)


@dataclass(frozen=True)
class Critic:
    """The action value: obs[O], action[A] -> q[], or out[outputs] for a head that needs several outputs.

    `action_layer` is the hidden layer where the action joins: 2 as in the paper (DDPG, section 7) and the
    2017 tutorial, 1 as in TD3 and most libraries. The action's weights are a separate array, so that the
    actor's gradient, which needs only dq/da, costs no backward pass through the layers below.
    """

    obs_size: int
    action_size: int
    hidden: tuple[int, ...] = (400, 300)
    action_layer: int = 2
    weights: Init = PAPER
    layer_norm: bool = False
    outputs: int | None = None
    activation: str = "relu"

    def init(self, key) -> Params:
        """Initial parameters."""
        sizes = (self.obs_size, *self.hidden, self.outputs or 1)
        return init_layers(key, self.weights, sizes, self.layer_norm, self.action_size, self.action_layer - 1)

    def apply(self, params: Params, obs, action):
        """obs[*, O], action[*, A] -> q[*], or out[*, outputs]."""
        h = obs
        for layer in params[:-1]:
            z = h @ layer["w"]
            h = hidden(layer, z + action @ layer["a"] if "a" in layer else z, self.activation)
        out = h @ params[-1]["w"] + params[-1]["b"]
        return out[..., 0] if self.outputs is None else out
