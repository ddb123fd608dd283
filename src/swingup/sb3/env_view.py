"""A model's environments with the interface of Stable-Baselines3's vector environments: `model.get_env()`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from swingup.envs.gym_env import GymEnv
from swingup.errors import InputError
from swingup.sb3.vector_input import register


class EnvView:
    """The environments of a model, stepped by hand: `reset`, `step`, `render` with one row an environment.

    step(action[N, ...]) returns obs[N, ...], reward[N], done[N] and a list of N infos; where an episode ended
    the observation is that of the next one, and info has `terminal_observation` and `TimeLimit.truncated`.
    """

    def __init__(self, env: GymEnv):
        self.whole, self.envs, self.num_envs = env, env.envs, env.n
        self.observation_space, self.action_space = self.envs[0].observation_space, self.envs[0].action_space
        self.render_mode = self.envs[0].render_mode
        self.metadata = {"render_modes": [self.render_mode] if self.render_mode else []}
        self.seeds: list[int | None] = [None] * env.n
        self.reset_infos: list[dict[str, Any]] = [{} for _ in range(env.n)]
        self.touched = False  # whether the episodes of training were left
        register(EnvView)

    @property
    def unwrapped(self) -> EnvView:
        return self

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds of the next reset: seed, seed + 1 and so on."""
        self.seeds = [None if seed is None else seed + i for i in range(self.num_envs)]
        return self.seeds

    def set_options(self, options: Any = None) -> None:
        """Options of a reset are not passed on."""
        if options:
            raise InputError("get_env().set_options: options are not passed on; set them in the environment")

    def reset(self) -> Any:
        """Start an episode in every environment; returns obs[N, ...]."""
        self.touched = True
        pairs = [env.reset(seed=seed) for env, seed in zip(self.envs, self.seeds, strict=True)]
        self.seeds, self.reset_infos = [None] * self.num_envs, [info for _, info in pairs]
        return stacked([obs for obs, _ in pairs])

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Execute action[N, ...] in the environments' units."""
        self.touched = True
        rows = [self.step_one(i, action) for i, action in enumerate(np.asarray(actions))]
        obs, rewards, dones, infos = map(list, zip(*rows, strict=True))
        return stacked(obs), np.array(rewards, np.float32), np.array(dones), infos

    def step_one(self, i: int, action: np.ndarray) -> tuple[Any, float, bool, dict[str, Any]]:
        """Step environment i, and reset it where its episode ends."""
        obs, reward, terminated, truncated, info = self.envs[i].step(action)
        info = dict(info, **{"TimeLimit.truncated": bool(truncated and not terminated)})
        if terminated or truncated:
            info["terminal_observation"] = obs
            obs, self.reset_infos[i] = self.envs[i].reset()
        return obs, float(reward), bool(terminated or truncated), info

    def step_async(self, actions: Any) -> None:
        """Keep the actions for `step_wait`."""
        self.actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Execute the actions given to `step_async`."""
        return self.step(self.actions)

    def render(self, mode: str | None = None) -> np.ndarray | None:
        """The frames, side by side, of environments made with rgb_array; a window's own where it is human."""
        if self.render_mode is None:
            raise InputError(
                "get_env().render(): the environment has no render_mode; give the model one made with "
                'render_mode="rgb_array"'
            )
        frames = [env.render() for env in self.envs]
        return (
            None if self.render_mode == "human" else np.concatenate([np.asarray(f) for f in frames], axis=1)
        )

    def get_images(self) -> list[Any]:
        """A frame of each environment."""
        return [env.render() for env in self.envs]

    def close(self) -> None:
        """Close the environments."""
        self.whole.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of each environment, wrappers included."""
        return [env.get_wrapper_attr(attr_name) for env in self.chosen(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of each environment."""
        for env in self.chosen(indices):
            env.set_wrapper_attr(attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of each environment, wrappers included."""
        self.touched |= method_name in ("reset", "step")
        return [env.get_wrapper_attr(method_name)(*args, **kwargs) for env in self.chosen(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Whether a wrapper of this class is around each environment."""
        return [
            any(isinstance(layer, wrapper_class) for layer in layers(env)) for env in self.chosen(indices)
        ]

    def chosen(self, indices: int | Iterable[int] | None) -> list[Any]:
        """The environments with these indices; None: all."""
        indices = (
            range(self.num_envs) if indices is None else [indices] if isinstance(indices, int) else indices
        )
        return [self.envs[i] for i in indices]


def layers(env: Any) -> Iterable[Any]:
    """An environment and what it wraps, outermost first."""
    while env is not None:
        yield env
        env = env.__dict__.get("env")


def stacked(obs: list[Any]) -> Any:
    """Observations of N environments as one array; of a Dict or Tuple space, as one of each part."""
    if isinstance(obs[0], dict):
        return {key: stacked([o[key] for o in obs]) for key in obs[0]}
    return (
        tuple(map(stacked, map(list, zip(*obs, strict=True)))) if isinstance(obs[0], tuple) else np.stack(obs)
    )
