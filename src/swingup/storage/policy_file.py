"""A policy as one safetensors file: the weights and everything that acting needs; no pickle."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from swingup.core.custom_networks import CustomNetwork, Makers
from swingup.core.history import History
from swingup.core.networks import ACTIVATIONS, Actor
from swingup.core.policy import Policy
from swingup.core.running_statistics import RunningStatistics
from swingup.errors import InputError
from swingup.storage import custom_policy
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
    if isinstance(policy.actor, CustomNetwork):
        actor, tensors = custom_policy.describe(policy.actor, policy.params)
    else:
        actor, layers = describe_actor(policy.actor), enumerate(policy.params)
        tensors = {f"{i}.{k}": np.ascontiguousarray(v) for i, layer in layers for k, v in layer.items()}
    tensors |= {
        f"moments.{k}": np.asarray(v)
        for k, v in (policy.obs_statistics._asdict() if policy.obs_statistics else {}).items()
    }
    spec = dataclasses.asdict(policy.spec)
    for name in ("parts", "categories"):
        if not spec[name]:
            del spec[name]
    past = {} if policy.history is None else {"history": policy.history.length}
    about = {"format": 1, "spec": spec, **actor, **past}
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(save({**tensors, **arrays}, {"swingup": json.dumps(about), **notes}))
    os.replace(part, path)


def load_policy(path: str | Path, networks: Makers | None = None) -> Policy:
    """Read what `save_policy` wrote; InputError if it is missing or not a policy of swingup.

    networks: the makers (make_actor, make_critic) of a network of your own, if the file names none to import.
    """
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
        actor: Any
        history = read_history(about, spec)
        obs_size = spec.obs_size if history is None else history.size
        if "networks" in about:
            actor, params = custom_policy.restore(about, tensors, spec, obs_size, networks, path)
        else:
            actor, params = read_actor(about, tensors, spec, obs_size)
        sizes = {"total": (), "mean": (spec.obs_size,), "m2": (spec.obs_size,)}
        statistics = (
            RunningStatistics(*(array(tensors, f"moments.{k}", s) for k, s in sizes.items()))
            if "moments.mean" in tensors
            else None
        )
    except InputError:
        raise
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
    return Policy(actor, params, spec, statistics, history)


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


def describe_actor(actor: Actor) -> dict[str, Any]:
    """An actor as JSON values; options that are off are left out."""
    options = {
        "residual": actor.residual,
        "activation": actor.activation if actor.activation != "relu" else "",
    }
    about = {"hidden": actor.hidden, "layer_norm": actor.layer_norm}
    return about | {name: value for name, value in options.items() if value}


def read_actor(
    about: dict[str, Any], tensors: dict[str, np.ndarray], spec: Spec, obs_size: int
) -> tuple[Actor, Any]:
    """The actor of `describe_actor` and its parameters; ValueError or LookupError where that cannot be."""
    hidden = whole_numbers(about["hidden"])
    if len(hidden) > len(tensors):
        raise ValueError(f"{len(hidden)} layers in {len(tensors)} arrays")
    activation, residual = about.get("activation", "relu"), bool(about.get("residual", False))
    if activation not in ACTIVATIONS:
        raise ValueError(f"the activation {activation!r:.60}")
    if residual and len(set(hidden)) != 1:
        raise ValueError("residual blocks of several widths")
    actor = Actor(
        obs_size,
        spec.action_size,
        hidden,
        layer_norm=bool(about["layer_norm"]),
        activation=activation,
        residual=residual,
    )
    layers = enumerate(actor.layers)
    shapes = [(i, {name: shape for name, (shape, _, _) in layer.items()}) for i, layer in layers]
    return actor, tuple({k: array(tensors, f"{i}.{k}", s) for k, s in layer.items()} for i, layer in shapes)


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
    if spec.categories and (
        len(spec.categories) != len(paths)
        or not all(type(n) is int and type(first) is int for kinds in spec.categories for n, first in kinds)
    ):
        raise ValueError("the choices in its observations")
    return spec
