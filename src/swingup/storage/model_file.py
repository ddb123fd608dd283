"""A saved model: a policy's file that also holds critics, optimisers and settings, to go on learning from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from swingup.core.policy import Policy
from swingup.errors import InputError
from swingup.storage.policy_file import load_policy, read_file, save_policy

# The key of the settings in the file's metadata, and what the names of the learner's arrays begin with.
SETTINGS, PREFIX = "swingup_settings", "model."


class Model(NamedTuple):
    """What a saved model holds.

    settings: those it was trained with; arrays: the learner and its counters, by their names in a snapshot.
    Both are empty where the policy alone was saved.
    """

    policy: Policy
    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]


def save_model(path: Path, model: Model) -> None:
    """Write a model as one safetensors file, which `load_policy` reads as a policy."""
    arrays = {f"{PREFIX}{name}": np.asarray(value, order="C") for name, value in model.arrays.items()}
    save_policy(path, model.policy, arrays, {SETTINGS: json.dumps(model.settings)} if model.settings else {})


def load_model(path: str | Path) -> Model:
    """Read what `save_model` wrote; InputError if it is missing, damaged or not a model of swingup."""
    policy = load_policy(path)
    try:
        metadata, tensors = read_file(Path(path))
        settings = json.loads(metadata.get(SETTINGS, "{}"))
        if type(settings) is not dict:
            raise TypeError("settings")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: its settings cannot be read ({error!s:.100}); save it again") from error
    arrays = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
    if odd := sorted(k for k, v in arrays.items() if not np.isfinite(v).all()):
        raise InputError(f"{path}: {odd[0]} is not finite; choose a model from before it diverged")
    return Model(policy, settings, arrays)
