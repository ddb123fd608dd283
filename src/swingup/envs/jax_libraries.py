"""Environments of other JAX libraries as JaxEnv: their raw dynamics, without the libraries' automatic resets.

Random keys are stored as raw numbers, so that a state consists of plain arrays.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from swingup.envs import gym_ids, spaces
from swingup.envs.api import Outcome
from swingup.errors import InputError, unknown
from swingup.types import Spec


class Gymnax:
    """`gymnax/Pendulum-v1`: an environment of `gymnax.make` with real-valued actions.

    state: (key, gymnax's own). `step_env` is the dynamics alone; gymnax's `step` would replace an episode's
    last observation by the first one of the next episode.
    """

    def __init__(self, name: str):
        library, kind = load("gymnax", name), name.partition("/")[2]
        if not hasattr(library.environments.environment.Environment, "is_truncated"):
            raise InputError(
                f"environment {name}: gymnax before 1.0 reports a time limit as termination; "
                "pip install 'swingup[gymnax]'"
            )
        if kind not in library.registered_envs:
            raise unknown(name, (f"gymnax/{k}" for k in library.registered_envs))
        self.env, self.params = make(name, lambda: library.make(kind))
        space = self.env.action_space(self.params)
        if not isinstance(space, library.environments.spaces.Box):
            raise InputError(
                f"environment {name}: its actions are {type(space).__name__}; "
                "DDPG needs a Box of real numbers"
            )
        self.spec = spec_of(name, self.reset, space.low, space.high, space.shape)
        self.limit: int | None = int(self.params.max_steps_in_episode)

    def reset(self, key: Any) -> tuple[Any, Any]:
        first, key = jax.random.split(key)
        obs, state = self.env.reset_env(first, self.params)
        return (jax.random.key_data(key), settled(state)), flat(obs)

    def step(self, state: Any, action: Any) -> tuple[Any, Outcome]:
        now, key = jax.random.split(jax.random.wrap_key_data(state[0]))
        obs, inner, reward, terminated, _ = self.env.step_env(
            now, state[1], self.spec.to_env(action), self.params
        )
        outcome = Outcome(flat(obs), jnp.float32(reward), jnp.asarray(terminated, bool))
        return (jax.random.key_data(key), settled(inner)), outcome

    def frame(self, state: Any) -> np.ndarray:
        """Not supported: raises InputError."""
        raise InputError(
            f"environment {self.spec.env}: gymnax cannot draw a single state; film the native or Gymnasium "
            "environment of that name"
        )


class Brax:
    """`brax/ant`: an environment of Brax on its default backend, without Brax's wrappers.

    state: Brax's own. Actions are in [-1, 1]; `limit` is the default episode length of `brax.envs.create`.
    """

    def __init__(self, name: str):
        library, kind = load("brax", name, "brax.envs"), name.partition("/")[2]
        if kind not in library._envs:
            raise unknown(name, (f"brax/{k}" for k in library._envs))
        self.env = make(name, lambda: library.get_environment(kind))
        self.spec = spec_of(name, self.reset, -1, 1, (self.env.action_size,))
        self.limit: int | None = inspect.signature(library.create).parameters["episode_length"].default

    def reset(self, key: Any) -> tuple[Any, Any]:
        state = settled(self.env.reset(jax.random.key_data(key)))
        return state, flat(acting(state.obs))

    def step(self, state: Any, action: Any) -> tuple[Any, Outcome]:
        state = settled(self.env.step(state, self.spec.to_env(action)))
        return state, Outcome(flat(acting(state.obs)), jnp.float32(state.reward), state.done > 0)

    def frame(self, state: Any) -> np.ndarray:
        return self.env.render(jax.device_get(state.pipeline_state), 480, 480)


class Playground:
    """`playground/CartpoleBalance`: a task of MuJoCo Playground without its wrappers, on MJX in JAX.

    state: Playground's own. Actions are in [-1, 1]; the episode length and the number of times that an action
    is repeated are those of the task's configuration. Where the observation is a dictionary, the policy
    receives its entry `state`. Loading a robot's task makes Playground download the robot's model, once.
    """

    def __init__(self, name: str):
        library, kind = load("mujoco_playground", name).registry, name.partition("/")[2]
        if kind not in library.ALL_ENVS:
            raise unknown(name, (f"playground/{k}" for k in library.ALL_ENVS))
        config = library.get_default_config(kind)
        # MuJoCo Warp, the default, runs on NVIDIA's GPUs only.
        self.env = make(
            name, lambda: library.load(kind, config_overrides={"impl": "jax"} if "impl" in config else None)
        )
        self.repeat = int(config.action_repeat)
        self.spec = spec_of(name, self.reset, -1, 1, (self.env.action_size,))
        self.limit: int | None = -(-int(config.episode_length) // self.repeat)

    def reset(self, key: Any) -> tuple[Any, Any]:
        state = settled(self.env.reset(jax.random.key_data(key)))
        return state, flat(acting(state.obs))

    def step(self, state: Any, action: Any) -> tuple[Any, Outcome]:
        reward, executed = jnp.float32(0), self.spec.to_env(action)
        for _ in range(self.repeat):
            state = settled(self.env.step(state, executed))
            reward += state.reward
        return state, Outcome(flat(acting(state.obs)), reward, state.done > 0)

    def frame(self, state: Any) -> np.ndarray:
        return self.env.render(jax.device_get(state), 480, 480)


class Functional:
    """`gymnasium-functional/phys2d/Pendulum-v0`: a registered Gymnasium environment made of pure functions.

    state: (key, the functions' own).
    """

    def __init__(self, name: str):
        load("flax", name)
        kind = name.partition("/")[2]
        if kind not in gymnasium.registry:
            raise unknown(
                name,
                (
                    f"gymnasium-functional/{k}"
                    for k in gymnasium.registry
                    if k.startswith(("phys2d/", "tabular/"))
                ),
            )
        made = gym_ids.create(gymnasium.registry[kind], name, {}).unwrapped
        if not hasattr(made, "func_env"):
            raise InputError(f"environment {name}: it is not made of pure functions; remove the prefix")
        self.env: Any = made.func_env
        spaces.spec_of(made, name)  # refuses what DDPG cannot train on
        space = self.env.action_space
        self.spec = spec_of(name, self.reset, space.low, space.high, space.shape)
        self.limit: int | None = gymnasium.registry[kind].max_episode_steps

    def reset(self, key: Any) -> tuple[Any, Any]:
        first, key = jax.random.split(key)
        state = self.env.initial(first)
        return (jax.random.key_data(key), settled(state)), flat(self.env.observation(state, first))

    def step(self, state: Any, action: Any) -> tuple[Any, Outcome]:
        now, key = jax.random.split(jax.random.wrap_key_data(state[0]))
        executed, old = self.spec.to_env(action), state[1]
        new = settled(self.env.transition(old, executed, now))
        reward = jnp.float32(self.env.reward(old, executed, new, now))
        outcome = Outcome(
            flat(self.env.observation(new, now)), reward, jnp.asarray(self.env.terminal(new, now), bool)
        )
        return (jax.random.key_data(key), new), outcome

    def frame(self, state: Any) -> np.ndarray:
        scene = self.env.render_init()
        scene, image = self.env.render_image(jax.device_get(state[1]), scene)
        self.env.render_close(scene)
        return np.asarray(image, np.uint8)


LIBRARIES: dict[str, Callable[[str], Any]] = {
    "gymnax": Gymnax,
    "brax": Brax,
    "playground": Playground,
    "gymnasium-functional": Functional,
}


def find(name: str) -> Any:
    """Create the environment of an id whose prefix is in LIBRARIES; InputError if it cannot be created."""
    return LIBRARIES[name.partition("/")[0]](name)


def load(package: str, name: str, module: str | None = None) -> Any:
    """Import a library; InputError naming the extra of swingup that installs it."""
    try:
        return importlib.import_module(module or package)
    except ImportError as error:
        extra, why = name.partition("/")[0], " ".join(str(error).split())
        raise InputError(
            f"environment {name}: {package} cannot be imported ({why}); pip install 'swingup[{extra}]'"
        ) from error


def make(name: str, maker: Callable[[], Any]) -> Any:
    """What the library's `maker` returns; InputError if it raises."""
    try:
        return maker()
    except Exception as error:
        raise InputError(
            f"environment {name}: it could not be made ({gym_ids.describe_error(error)})"
        ) from error


def spec_of(name: str, reset: Callable, low: Any, high: Any, shape: Iterable[int]) -> Spec:
    """The Spec of an action box and of the observation from `reset`, checked like those of Gymnasium."""
    shape = tuple(shape)
    low, high = (np.broadcast_to(np.asarray(bound, np.float32), shape) for bound in (low, high))
    action = gymnasium.spaces.Box(low, high, shape, np.float32)
    obs = jax.eval_shape(reset, jax.random.key(0))[1]
    seen = gymnasium.spaces.Box(-np.inf, np.inf, obs.shape, np.float32)
    likeness: Any = SimpleNamespace(action_space=action, observation_space=seen)
    return spaces.spec_of(likeness, name)


def settled(state: Any) -> Any:
    """The state with a fixed dtype for every array.

    A weakly typed array would change its type after the first step, and the step would be compiled twice.
    """
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), state)


def acting(obs: Any) -> Any:
    """The part of an observation for the policy: the entry `state` of a dictionary that has one."""
    return obs["state"] if isinstance(obs, dict) and "state" in obs else obs


def flat(obs: Any) -> Any:
    """An observation as a vector obs[O] float32: dictionaries by sorted key, as in `types.flatten`."""
    return jnp.concat([jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(obs)])
