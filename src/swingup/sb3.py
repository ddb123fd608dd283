"""`DDPG` and `TD3` with the interface of Stable-Baselines3: `learn`, `predict`, `save`, `load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np

from swingup.config.fields import aliases
from swingup.config.presets import base
from swingup.config.settings import Config, apply, check
from swingup.core.policy import Policy
from swingup.envs.gym_env import GymEnv, name_of
from swingup.envs.registry import factory
from swingup.errors import InputError
from swingup.storage import policy_file, trusted_modules
from swingup.training.build import plan


class DDPG:
    """A DDPG agent on one environment.

    env: an id, a Gymnasium environment, or a function that makes one ("MlpPolicy" before it is accepted).
    settings: fields of `Config`, or their Stable-Baselines3 names (learning_rate, buffer_size, batch_size,
    learning_starts, gradient_steps); they override the preset. Exploration noise is on by default.
    """

    adds: ClassVar[dict[str, Any]] = {}  # the settings of a subclass

    def __init__(self, *env: Any, preset: str = "auto", **settings: Any):
        source = env[-1] if env else None
        if not env or len(env) > 2 or (len(env) == 2 and env[0] != "MlpPolicy"):
            raise InputError(f'{self.name}: expected one environment, for example {self.name}("Pendulum-v1")')
        theirs = {alias.replace("-", "_"): names for alias, names in aliases(Config).items()}
        ours = self.adds | {
            name: value for key, value in settings.items() for name in theirs.get(key, (key,))
        }
        made = source if isinstance(source, gymnasium.Env) else None
        if made is not None and ours.get("envs", 1) != 1:
            raise InputError(
                f"{self.name}: n_envs={ours['envs']} of one object; give an id or a function that makes them"
            )
        ours.setdefault("steps", 2**31 - 1)  # `learn` says how many
        if isinstance(source, str):
            trusted_modules.allow(source)
        make = (lambda: made) if made is not None else factory(source)
        self.env = GymEnv(make, ours.get("envs", 1), limit=ours.get("episode_steps"))
        name = source if isinstance(source, str) else name_of(self.env.envs[0])
        self.config = check(apply(base(name, preset), {"env": name, **ours}, self.name))
        self.rng = np.random.default_rng(self.config.seed)
        self.loop: Any = None
        self.loaded: Policy | None = None

    def learn(self, total_timesteps: int) -> Self:
        """Train for so many more environment steps; returns self."""
        from swingup import runtime

        runtime.prepare(self.config.threads)
        from swingup.loops.host import HostLoop

        if self.loop is None and self.loaded is not None:
            raise InputError(
                f"{self.name}: a loaded policy acts, it cannot go on learning "
                "(its critic and replay are not in the file); train a new one"
            )
        if self.loop is None:
            self.loop = HostLoop(plan(self.config, self.env.spec), self.env, self.config.seed, every=())
        self.loop.end = self.loop.steps + total_timesteps  # no log or evaluation is due before
        while self.loop.steps < self.loop.end:
            self.loop.step()
        return self

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def policy(self) -> Policy:
        """The greedy policy of the current weights."""
        if self.loaded is None:
            if self.loop is None:
                raise InputError(f"{self.name}: nothing learnt yet; call learn(steps) or load(path) first")
            return self.loop.policy()
        return self.loaded

    def predict(self, obs: Any, deterministic: bool = True) -> tuple[np.ndarray, None]:
        """The action for one observation or a batch, in the environment's units, and None as recurrent state.

        Greedy by default; deterministic=False adds N(0, sigma) noise, drawn from the model's own seed.
        """
        action = self.policy(obs)
        if not deterministic:
            spec = self.policy.spec
            unit = spec.from_env(action)
            action = spec.to_env(np.clip(unit + self.rng.normal(0, 1, unit.shape) * self.config.sigma, -1, 1))
        return action, None

    def save(self, path: str | Path) -> None:
        """Write the greedy policy as a safetensors file (no pickle), by default with that ending."""
        policy_file.save_policy(with_ending(path), self.policy)

    @classmethod
    def load(cls, path: str | Path, env: Any = None) -> Self:
        """Load a saved policy, to predict only; env: by default made from the id in the file."""
        policy = policy_file.load_policy(with_ending(path))
        model = cls(trusted_modules.check(policy.spec.env, Path(path)) if env is None else env)
        if (model.env.spec.obs_size, model.env.spec.action_shape) != (
            policy.spec.obs_size,
            policy.spec.action_shape,
        ):
            raise InputError(
                f"{path}: made for {policy.spec.env}, whose sizes are not those of {model.env.spec.env}; "
                "give the right environment"
            )
        model.loaded = policy
        return model


class TD3(DDPG):
    """DDPG with the smaller of two critics' targets, a delayed actor and smoothed targets (1802.09477)."""

    adds: ClassVar[dict[str, Any]] = {"critics": 2, "delay": 2, "smoothing": 0.2}


def with_ending(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix else path.with_suffix(".safetensors")
