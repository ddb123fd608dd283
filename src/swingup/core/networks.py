"""Actor and critic networks: functions of explicit parameters, for one observation at a time; callers `vmap`.

A network is a frozen dataclass with `init(key) -> params` and `apply(params, ...)`; any hashable object with
these two methods can take its place. `apply` uses only the array API, so the same code runs compiled under
JAX in training and in NumPy where a trained policy is deployed (JAX is imported only to draw weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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


# An array of a layer: its shape, the rule that makes its first values (ONE and ZERO draw none), its fan-in.
Array = tuple[tuple[int, ...], Any, int]
ONE, ZERO = 1.0, 0.0


def plain_layers(init: Init, sizes, norm=False, action_size=0, action_layer=-1) -> list[dict[str, Array]]:
    """The arrays of a stack of layers: a dictionary for each layer.

    `w[in, out]`, `b[out]`, `a[A, out]` in the layer where the action joins, `scale[out]` under a norm.
    """
    layers = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        joins = action_size if i == action_layer else 0
        last, fan = i == len(sizes) - 2, inputs + joins
        weight, bias = (init.last, init.last_bias) if last else (init.hidden, init.hidden_bias)
        layer: dict[str, Array] = {"w": ((inputs, outputs), weight, fan), "b": ((outputs,), bias, fan)}
        layer |= {"a": ((joins, outputs), weight, fan)} if joins else {}
        layers.append(layer | ({"scale": ((outputs,), ONE, 0)} if norm and not last else {}))
    return layers


def draw_layers(key, layers: list[dict[str, Array]]) -> Params:
    """Parameters with these arrays: a tuple of dictionaries, one for each layer.

    One draw serves the whole network: a draw per array took 1.5 s to compile, this takes 0.2 s.
    """
    import jax
    import jax.numpy as jnp

    kind = jnp.result_type(float)
    drawn = [shape for layer in layers for shape, rule, _ in layer.values() if callable(rule)]
    u = jax.random.uniform(key, (sum(map(math.prod, drawn)),), dtype=kind, minval=-1, maxval=1)
    params: list[dict[str, Any]] = []
    start = 0
    for layer in layers:
        params.append({})
        for name, (shape, rule, fan) in layer.items():
            if callable(rule):
                piece = u[start : start + math.prod(shape)].reshape(shape)
                params[-1][name], start = rule(piece, fan), start + math.prod(shape)
            else:
                params[-1][name] = jnp.full(shape, rule, kind)
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


EPSILON = 1e-5  # added to variances in norms


def standardize(z, axis):
    """z with mean 0 and variance 1 along an axis."""
    xp = z.__array_namespace__()
    centred = z - xp.mean(z, axis=axis, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=axis, keepdims=True) + EPSILON)


def normalize(layer, z):
    """z[*, H] normalised, times the scale: by running batch statistics, if the layer has them, or layer norm.

    Layer norm (1607.06450): over the layer's units. Batch norm (1502.03167): each unit over the minibatches.
    """
    if "mean" in layer:
        return (z - layer["mean"]) / z.__array_namespace__().sqrt(layer["var"] + EPSILON) * layer["scale"]
    return standardize(z, -1) * layer["scale"]


class BatchStatistics:
    """`normalize` by the minibatch z[B, H] itself; `seen` collects each layer's mean[H] and var[H]."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, layer, z):
        xp = z.__array_namespace__()
        mean = xp.mean(z, axis=0)
        self.seen.append({"mean": mean, "var": xp.mean(xp.square(z - mean), axis=0)})
        return standardize(z, 0) * layer["scale"]


def hidden(layer, z, activation="relu", norm=normalize, kept=None):
    """The output of a hidden layer from its products z[*, out]: norm if it has a scale, bias, activation.

    kept[*, out]: dropout's factors, applied before the norm as in DroQ (2110.02034, figure 1).
    """
    act = partial(ACTIVATIONS[activation], z.__array_namespace__())
    if "scale" not in layer:
        z = z + layer["b"]
        return act(z if kept is None else z * kept)
    return act(norm(layer, z if kept is None else z * kept) + layer["b"])


def plain(params, activation, obs, action=None, norm=normalize, kept=None):
    """The last layer's output[*, out] of a stack of layers; the arguments as in `hidden`.

    kept[*, units]: the factors of all hidden layers one after the other.
    """
    h, start = obs, 0
    for layer in params[:-1]:
        z = h @ layer["w"]
        z, end = z + action @ layer["a"] if "a" in layer else z, start + z.shape[-1]
        h, start = hidden(layer, z, activation, norm, None if kept is None else kept[..., start:end]), end
    return h @ params[-1]["w"] + params[-1]["b"]


# The width of a residual block's hidden layer, in widths of the block.
EXPANSION = 4


def residual_layers(init: Init, sizes, action_size=0, action_layer=-1) -> list[dict[str, Array]]:
    """The arrays of a residual network (SimBa, 2410.09754): a layer to the width H, blocks, the last layer.

    sizes: inputs, the equal widths H of the blocks, outputs. Of a block: `scale[H]`, `shift[H]` of its layer
    norm, `w[H, 4H]`, `b[4H]`, then `v[4H, H]`, `c[H]`; of the last layer also `scale`, `shift`. The action
    joins (`a`) in layer `action_layer`: in the first, or in a block's 4H units.
    """
    inputs, *blocks, outputs = sizes
    width, wide = blocks[0], EXPANSION * blocks[0]
    shapes = [(inputs, width), *[(width, wide)] * len(blocks), (width, outputs)]
    layers = []
    for i, (rows, columns) in enumerate(shapes):
        joins, last = action_size if i == action_layer else 0, i == len(shapes) - 1
        weight, bias = (init.last, init.last_bias) if last else (init.hidden, init.hidden_bias)
        fan = rows + joins
        layer: dict[str, Array] = {"w": ((rows, columns), weight, fan), "b": ((columns,), bias, fan)}
        layer |= {"a": ((joins, columns), weight, fan)} if joins else {}
        layer |= {"scale": ((width,), ONE, 0), "shift": ((width,), ZERO, 0)} if i else {}
        if i and not last:
            layer |= {"v": ((wide, width), init.hidden, wide), "c": ((width,), init.hidden_bias, wide)}
        layers.append(layer)
    return layers


def residual(params, activation, obs, action=None, norm=normalize, kept=None):
    """The last layer's output[*, out] of a residual network; the arguments as in `plain`."""

    def product(layer, h):
        z = h @ layer["w"] + layer["b"]
        return z + action @ layer["a"] if "a" in layer else z

    act = partial(ACTIVATIONS[activation], obs.__array_namespace__())
    first, *blocks, last = params
    h, start = product(first, obs), 0
    for block in blocks:
        z = product(block, norm(block, h) + block["shift"])
        end = start + z.shape[-1]
        z, start = z if kept is None else z * kept[..., start:end], end
        h = h + act(z) @ block["v"] + block["c"]
    return product(last, norm(last, h) + last["shift"])


@dataclass(frozen=True)
class Actor:
    """The deterministic policy: obs[O] -> action[A] in [-1, 1], by tanh (DDPG paper, section 7)."""

    obs_size: int
    action_size: int
    hidden: tuple[int, ...] = (400, 300)
    weights: Init = PAPER
    layer_norm: bool = False
    activation: str = "relu"
    residual: bool = False

    @property
    def layers(self) -> list[dict[str, Array]]:
        """The arrays of each layer."""
        sizes = (self.obs_size, *self.hidden, self.action_size)
        return (
            residual_layers(self.weights, sizes)
            if self.residual
            else plain_layers(self.weights, sizes, self.layer_norm)
        )

    def init(self, key) -> Params:
        """Initial parameters."""
        return draw_layers(key, self.layers)

    def apply(self, params: Params, obs):
        """obs[*, O] -> action[*, A]."""
        out = (residual if self.residual else plain)(params, self.activation, obs)
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
    residual: bool = False
    batch_norm: bool = False

    @property
    def layers(self) -> list[dict[str, Array]]:
        """The arrays of each layer."""
        sizes, joins = (self.obs_size, *self.hidden, self.outputs or 1), self.action_layer - 1
        if self.residual:
            return residual_layers(self.weights, sizes, self.action_size, joins)
        norm = self.layer_norm or self.batch_norm
        return plain_layers(self.weights, sizes, norm, self.action_size, joins)

    @property
    def units(self) -> int:
        """Hidden units of all layers, which dropout may leave out."""
        return sum(self.hidden) * (EXPANSION if self.residual else 1)

    def init(self, key) -> Params:
        """Initial parameters."""
        return draw_layers(key, self.layers)

    def apply(self, params: Params, obs, action, kept=None, norm=normalize):
        """obs[*, O], action[*, A] -> q[*], or out[*, outputs].

        kept[*, units]: dropout's factors of the hidden units, if any; norm: as in `hidden`.
        """
        stack = residual if self.residual else plain
        out = stack(params, self.activation, obs, action, norm, kept)
        return out[..., 0] if self.outputs is None else out

    def apply_to_batch(self, params: Params, obs, action, kept=None):
        """`apply` of a minibatch, obs[B, O], that batch norm normalises by its own statistics.

        Returns the output, and for each layer its mean[H] and variance[H] ({} for a layer without a norm).
        """
        norm = BatchStatistics()
        out, seen = self.apply(params, obs, action, kept, norm), iter(norm.seen)
        return out, tuple(next(seen) if "scale" in layer else {} for layer in params)
