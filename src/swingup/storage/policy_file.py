"""A policy as one safetensors file: the weights and everything that acting needs; no pickle."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from swingup.core.history import History
from swingup.core.networks import ACTIVATIONS, Actor
from swingup.core.policy import Policy
from swingup.core.running_statistics import RunningStatistics
from swingup.errors import InputError
from swingup.types import Spec


def save_policy(
    path: Path,
    policy: Policy,
    arrays: Mapping[str, np.ndarray] = MappingProxyType({}),
    notes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a policy as one safetensors file: its arrays, and in the metadata the rest that acting needs.

    arrays, notes: what else the file holds, arrays and metadata, which acting does not read.
    """
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{i}.{k}": np.ascontiguousarray(v) for i, layer in enumerate(policy.params) for k, v in layer.items()
    }
    tensors |= {
        f"moments.{k}": np.asarray(v)
        for k, v in (policy.obs_statistics._asdict() if policy.obs_statistics else {}).items()
    }
    actor = {"hidden": policy.actor.hidden, "layer_norm": policy.actor.layer_norm}
    if policy.actor.activation != "relu":
        actor["activation"] = policy.actor.activation
    spec = dataclasses.asdict(policy.spec)
    if not policy.spec.parts:
        del spec["parts"]
    past = {} if policy.history is None else {"history": policy.history.length}
    about = {"format": 1, "spec": spec, **actor, **past}
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(save({**tensors, **arrays}, {"swingup": json.dumps(about), **notes}))
    os.replace(part, path)


def load_policy(path: str | Path) -> Policy:
    """Read what `save_policy` wrote; InputError if it is missing or not a policy of swingup."""
    from safetensors import SafetensorError

    path = Path(path)
    if not path.is_file():
        best = path.with_name("best.safetensors").is_file()
        raise InputError(
            f"{path}: no such policy; "
            f"{'there is one of the best evaluation: --best' if best else 'the run has not saved one yet'}"
        )
    try:
        metadata, tensors = read_file(path)
        about = json.loads(metadata["swingup"])
        spec = read_spec(about["spec"])
        hidden = whole_numbers(about["hidden"])
        if len(hidden) > len(tensors):
            raise ValueError(f"{len(hidden)} layers in {len(tensors)} arrays")
        activation = about.get("activation", "relu")
        if activation not in ACTIVATIONS:
            raise ValueError(f"the activation {activation!r:.60}")
        history = read_history(about, spec)
        actor = Actor(
            spec.obs_size if history is None else history.size,
            spec.action_size,
            hidden,
            layer_norm=bool(about["layer_norm"]),
            activation=activation,
        )
        layers = [
            {k: array(tensors, f"{i}.{k}", s) for k, s in shapes.items()}
            for i, shapes in enumerate(actor_shapes(actor))
        ]
        sizes = {"total": (), "mean": (spec.obs_size,), "m2": (spec.obs_size,)}
        statistics = (
            RunningStatistics(*(array(tensors, f"moments.{k}", s) for k, s in sizes.items()))
            if "moments.mean" in tensors
            else None
        )
    except (
        SafetensorError,
        OSError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise InputError(
            f"{path}: not a policy of swingup ({type(error).__name__}: {error!s:.200})"
        ) from error
    return Policy(actor, tuple(layers), spec, statistics, history)


def read_history(about: dict[str, Any], spec: Spec) -> History | None:
    """The history of a policy's input, or None; ValueError if its length is none."""
    if "history" not in about:
        return None
    (length,) = whole_numbers([about["history"]])
    if length > 2**16:
        raise ValueError(f"a history of {length} observations")
    return History(length, spec.obs_size, spec.action_size)


def read_file(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the arrays of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def actor_shapes(actor: Actor) -> list[dict[str, tuple[int, ...]]]:
    """The arrays of each layer of an actor, by name."""
    sizes = (actor.obs_size, *actor.hidden, actor.action_size)
    last = len(actor.hidden)
    return [
        {"w": (a, b), "b": (b,), **({"scale": (b,)} if actor.layer_norm and i < last else {})}
        for i, (a, b) in enumerate(pairwise(sizes))
    ]


def array(tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The named array; LookupError or ValueError unless it has this shape and finite float32 numbers."""
    found = tensors[name]
    if found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
        raise ValueError(f"{name} is not of finite float32 numbers {shape}")
    return found


def whole_numbers(values: Any) -> tuple[int, ...]:
    """A tuple from a list of integers in [1, 2^31); else ValueError."""
    if not isinstance(values, list) or not all(type(v) is int and 0 < v < 2**31 for v in values):
        raise ValueError(f"{values!r:.60} is not a list of whole numbers")
    return tuple(values)


def read_spec(values: dict[str, Any]) -> Spec:
    """A Spec from its JSON, every field checked."""
    spec = Spec.of_json(values)
    whole_numbers(values["obs_shape"]), whole_numbers(values["action_shape"])
    if not isinstance(spec.env, str) or spec.action_dtype not in ("float16", "float32", "float64"):
        raise ValueError("its environment's name or the dtype of its actions")
    for bound in (spec.low, spec.high):
        if len(bound) != spec.action_size or not all(type(x) is float and np.isfinite(x) for x in bound):
            raise ValueError("the bounds of its actions")
    paths = [path for path in spec.parts if type(path) is tuple]
    if len(paths) != len(spec.parts) or not all(type(k) in (str, int) for path in paths for k in path):
        raise ValueError("the parts of its observations")
    return spec
