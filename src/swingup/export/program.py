"""A policy as a list of explicit steps, from the raw observation to the environment's action.

Every exporter writes these steps, so a format knows nothing of networks, and a network nothing of formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.core.running_statistics import LIMIT, RunningStatistics
from swingup.errors import InputError
from swingup.export.activations import ACTIVATIONS
from swingup.types import Spec

# What layer norm adds to the variance (`core.networks.hidden`).
EPSILON = 1e-5


@dataclass(frozen=True)
class Step:
    """One step x[I] -> y[J]: its kind, its arrays and its other values.

    normalize: (x - mean[I]) / deviation[I], clipped at +-limit. dense: x @ w[I, J], plus b[J] if there is
    one. layer_norm: (x - mean of x) / sqrt(variance of x + epsilon) * scale[I] + b[I]. activation: the
    function `name` of each element. rescale: from [-1, 1] to [low[I], high[I]] (float64) as `Spec.to_env`.
    """

    kind: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """All steps of a policy, and the shapes of what goes in and comes out."""

    env: str
    obs_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    action_dtype: str
    steps: tuple[Step, ...]

    @property
    def obs_size(self) -> int:
        """O, the length of a flat observation."""
        return int(np.prod(self.obs_shape))

    @property
    def action_size(self) -> int:
        """A, the length of a flat action."""
        return int(np.prod(self.action_shape))

    @property
    def title(self) -> str:
        """The environment's name for a comment: a policy file from elsewhere must not put code there."""
        return re.sub(r"[^\w./:+ -]", "?", self.env)

    @property
    def about(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON values."""
        return {
            "format": 1,
            "env": self.env,
            "obs_shape": list(self.obs_shape),
            "action_shape": list(self.action_shape),
            "action_dtype": self.action_dtype,
            "steps": [{"kind": step.kind, **step.values} for step in self.steps],
        }


def program(policy: Policy) -> Program:
    """The steps of a policy; InputError if its network is not one that can be taken apart."""
    kind = type(policy.actor)
    if kind not in LAYERS:
        raise InputError(
            f"export: the actor is a {kind.__name__}, a network of your own; only swingup's networks can be "
            "exported, so act with swingup.load_policy or write your network's export"
        )
    if policy.history is not None:
        raise InputError(
            f"export: the policy remembers {policy.history.length} observations (--history), which no "
            "exported file does; act with swingup.load_policy"
        )
    spec, statistics = policy.spec, policy.obs_statistics
    steps = [
        *([normalization(statistics)] if statistics is not None else []),
        *LAYERS[kind](policy.actor, policy.params),
        rescaling(spec),
    ]
    return Program(spec.env, spec.obs_shape, spec.action_shape, spec.action_dtype, tuple(steps))


def normalization(statistics: RunningStatistics) -> Step:
    """The step that `running_statistics.normalize` is, with the same float32 numbers."""
    total, mean, m2 = (np.asarray(x) for x in statistics)
    variance = m2 / np.maximum(total, 1) if total > 1 else np.ones_like(mean)
    return Step("normalize", {"mean": mean, "deviation": np.sqrt(variance + 1e-8)}, {"limit": LIMIT})


def rescaling(spec: Spec) -> Step:
    """The step that `Spec.to_env` is."""
    return Step("rescale", {"low": np.array(spec.low, float), "high": np.array(spec.high, float)})


def actor_steps(actor: Actor, params: Any) -> Iterator[Step]:
    """The steps of `core.networks.Actor`."""
    *inner, last = [{k: np.asarray(v) for k, v in layer.items()} for layer in params]
    for layer in inner:
        if "scale" in layer:
            yield Step("dense", {"w": layer["w"]})
            yield Step("layer_norm", {"scale": layer["scale"], "b": layer["b"]}, {"epsilon": EPSILON})
        else:
            yield Step("dense", {"w": layer["w"], "b": layer["b"]})
        yield nonlinearity(actor.activation)
    yield Step("dense", {"w": last["w"], "b": last["b"]})
    yield nonlinearity("tanh")


def nonlinearity(name: str) -> Step:
    """The step of an activation; InputError for one that the formats do not have."""
    if name not in ACTIVATIONS:
        raise InputError(f"export: no format has the activation {name}; they have {', '.join(ACTIVATIONS)}")
    return Step("activation", values={"name": name})


# How each kind of actor is taken apart: a function of the actor and its parameters.
LAYERS: dict[type, Callable[[Any, Any], Iterator[Step]]] = {Actor: actor_steps}
