"""Acts with a policy exported by swingup. Needs Python and NumPy, nothing else."""

import io
import json
from pathlib import Path

import numpy as np

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.where(x > 0, 0, x))),
    "silu": lambda x: x * (0.5 + 0.5 * np.tanh(0.5 * x)),
    "tanh": np.tanh,
}


def normalize(x, step, mean, deviation):
    return np.clip((x - mean) / deviation, -step["limit"], step["limit"])


def dense(x, step, w, b=0):
    return x @ w + b


def layer_norm(x, step, scale, b):
    centred = x - np.mean(x, axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + step["epsilon"])
    return centred / deviation * scale + b


def activation(x, step):
    return ACTIVATIONS[step["name"]](x)


def rescale(x, step, low, high):
    return np.clip(low * ((1 - x) / 2) + high * ((1 + x) / 2), low, high)


STEPS = {f.__name__: f for f in (normalize, dense, layer_norm, activation, rescale)}


class ExportedPolicy:
    """`policy(obs) -> action` in the environment's units: one observation, or a batch of them.

    obs[*obs_shape] -> action[*action_shape], float32 in; leading axes are a batch.
    """

    def __init__(self, arrays):
        about = json.loads(str(arrays["program"]))
        self.env, self.action_dtype = about["env"], about["action_dtype"]
        self.obs_shape, self.action_shape = tuple(about["obs_shape"]), tuple(about["action_shape"])
        self.steps = []
        for i, step in enumerate(about["steps"]):
            mine = {name.partition(".")[2]: arrays[name] for name in arrays if name.startswith(f"{i}.")}
            self.steps.append((STEPS[step["kind"]], step, mine))

    def __call__(self, obs):
        x = np.asarray(obs, np.float32)
        batch = x.shape[: x.ndim - len(self.obs_shape)]
        if x.shape != batch + self.obs_shape:
            raise ValueError(f"expected an observation of shape {self.obs_shape}, this has {x.shape}")
        x = x.reshape(*batch, -1)
        for function, step, arrays in self.steps:
            x = function(x, step, **arrays)
        return x.astype(self.action_dtype).reshape(batch + self.action_shape)


def load(source):
    """The policy in an .npz file, given by its path or as its bytes."""
    file = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    with np.load(file, allow_pickle=False) as arrays:
        return ExportedPolicy(dict(arrays))
