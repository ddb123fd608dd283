"""Gymnasium's interface to an environment written in JAX: for videos, evaluation and other people's tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from swingup.envs.jax_programs import compiled
from swingup.errors import InputError

if TYPE_CHECKING:
    from swingup.envs.api import JaxEnv


class JaxGymEnv(gymnasium.Env):
    """A JaxEnv as a gymnasium.Env called `name`, truncated at its limit; render_mode: None or "rgb_array"."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(self, env: JaxEnv, name: str, render_mode: str | None = None):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise InputError(
                f"environment {name}: it draws pictures and opens no window (render_mode {render_mode!r}); "
                "film it: swingup video RUN, or run.video() in a notebook"
            )
        self.name, self.env, self.render_mode = name, env, render_mode
        spec = self.env.spec
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, spec.obs_shape, np.float32)
        low, high = (np.array(b, spec.action_dtype).reshape(spec.action_shape) for b in (spec.low, spec.high))
        self.action_space = gymnasium.spaces.Box(low, high, dtype=low.dtype.type)
        self.spec = gymnasium.envs.registration.EnvSpec(name, max_episode_steps=self.env.limit)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        used = seed if seed is not None else int(self.np_random.integers(2**31))
        self.states, obs = compiled(self.env)[0](np.array([used], np.uint32))
        self.length = 0
        return self.seen(obs), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        unit = self.env.spec.from_env(np.asarray(action))
        self.states, outcome = compiled(self.env)[1](self.states, unit[None])
        self.length += 1
        truncated = self.env.limit is not None and self.length >= self.env.limit
        return self.seen(outcome.obs), float(outcome.reward[0]), bool(outcome.terminated[0]), truncated, {}

    def seen(self, obs: Any) -> np.ndarray:
        """The observation as float32, in the shape of the observation space."""
        return np.array(obs, np.float32).reshape(self.observation_space.shape)

    def render(self) -> Any:
        if self.render_mode != "rgb_array":
            return None
        import jax

        return self.env.frame(jax.tree.map(lambda x: x[0], self.states))
