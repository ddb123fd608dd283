"""Environments of other JAX libraries behind the protocol `JaxEnv`: their raw dynamics, without the resets that they hide.

Their random keys are kept as raw numbers, so that a state is nothing but arrays.
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

from swingup.envs import gym_env
from swingup.envs.api import Outcome
from swingup.errors import InputError, unknown
from swingup.types import Spec


class Gymnax:
    """`gymnax/Pendulum-v1`: what `gymnax.make` knows and has real-valued actions.

    state: (key, gymnax's own). `step_env` is the dynamics alone; its `step` would put a new episode's observation in the
    place of the last one.
    """

    def __init__(self, name: str):
        library, kind = load("gymnax", name), name.partition("/")[2]
        if not hasattr(library.environments.environment.Environment, "is_truncated"):
            raise InputError(f"environment {name}: before gymnax 1.0 a time limit looks like an end; pip install 'swingup[gymnax]'")
        if kind not in library.registered_envs:
            raise unknown(name, (f"gymnax/{k}" for k in library.registered_envs))
        self.env, self.params = make(name, lambda: library.make(kind))
        space = self.env.action_space(self.params)
        if not isinstance(space, library.environments.spaces.Box):
            raise InputError(f"environment {name}: its actions are {type(space).__name__}; DDPG needs a Box of real numbers")
        self.spec = spec_of(name, self.reset, space.low, space.high, space.shape)
        self.limit: int | None = int(self.params.max_steps_in_episode)

    def reset(self, key: Any) -> tuple[Any, Any]:
        first, key = jax.random.split(key)
        obs, state = self.env.reset_env(first, self.params)
        return (jax.random.key_data(key), settled(state)), flat(obs)

    def step(self, state: Any, action: Any) -> tuple[Any, Outcome]:
        now, key = jax.random.split(jax.random.wrap_key_data(state[0]))
        obs, inner, reward, terminated, _ = self.env.step_env(now, state[1], self.spec.to_env(action), self.params)
        outcome = Outcome(flat(obs), jnp.float32(reward), jnp.asarray(terminated, bool))
        return (jax.random.key_data(key), settled(inner)), outcome

    def frame(self, state: Any) -> np.ndarray:
        raise InputError(
            f"environment {self.spec.env}: gymnax draws no single pictures; film the native or Gymnasium environment of that name"
        )


class Brax:
    """`brax/ant`: an environment of Brax, on the backend that it chooses, before any of Brax's wrappers.

    state: Brax's own. Actions are [-1, 1]; an episode is as long as `brax.envs.create` makes it.
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
    """`playground/CartpoleBalance`: a task of MuJoCo Playground, before its wrappers, on MJX written in JAX.

    state: Playground's own. Actions are [-1, 1]; an episode is as long as the task's configuration says, and an action is
    repeated as often. Where the observation is a dictionary, `state` is what the policy sees. Loading a robot's task lets
    Playground fetch its model, once.
    """

    def __init__(self, name: str):
        library, kind = load("mujoco_playground", name).registry, name.partition("/")[2]
        if kind not in library.ALL_ENVS:
            raise unknown(name, (f"playground/{k}" for k in library.ALL_ENVS))
        config = library.get_default_config(kind)
        # MuJoCo Warp, the default, runs on NVIDIA's GPUs only.
        self.env = make(name, lambda: library.load(kind, config_overrides={"impl": "jax"} if "impl" in config else None))
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
    """`gymnasium-functional/phys2d/Pendulum-v0`: a registered Gymnasium environment that is made of pure functions.

    state: (key, the functions' own).
    """

    def __init__(self, name: str):
        load("flax", name)
        kind = name.partition("/")[2]
        if kind not in gymnasium.registry:
            raise unknown(name, (f"gymnasium-functional/{k}" for k in gymnasium.registry if k.startswith(("phys2d/", "tabular/"))))
        made = gym_env.create(gymnasium.registry[kind], name, {}).unwrapped
        if not hasattr(made, "func_env"):
            raise InputError(f"environment {name}: it is not made of pure functions; leave the prefix away")
        self.env: Any = made.func_env
        gym_env.spec_of(made, name)  # refuses what DDPG cannot train on
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
        outcome = Outcome(flat(self.env.observation(new, now)), reward, jnp.asarray(self.env.terminal(new, now), bool))
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
    """The environment of `gymnax/...`, `brax/...`, `playground/...` or `gymnasium-functional/...`; InputError, one line, where it cannot be made."""
    return LIBRARIES[name.partition("/")[0]](name)


def load(package: str, name: str, module: str | None = None) -> Any:
    """Import a library, or say which extra of ours brings it."""
    try:
        return importlib.import_module(module or package)
    except ImportError as error:
        extra, why = name.partition("/")[0], " ".join(str(error).split())
        raise InputError(f"environment {name}: {package} cannot be imported ({why}); pip install 'swingup[{extra}]'") from error


def make(name: str, maker: Callable[[], Any]) -> Any:
    """What the library's maker returns; an InputError of one line where it raises."""
    try:
        return maker()
    except Exception as error:
        raise InputError(f"environment {name}: it could not be made ({gym_env.told(error)})") from error


def spec_of(name: str, reset: Callable, low: Any, high: Any, shape: Iterable[int]) -> Spec:
    """The Spec of an action box and of what `reset` observes, checked as Gymnasium's are."""
    shape = tuple(shape)
    low, high = (np.broadcast_to(np.asarray(bound, np.float32), shape) for bound in (low, high))
    action = gymnasium.spaces.Box(low, high, shape, np.float32)
    obs = jax.eval_shape(reset, jax.random.key(0))[1]
    seen = gymnasium.spaces.Box(-np.inf, np.inf, obs.shape, np.float32)
    likeness: Any = SimpleNamespace(action_space=action, observation_space=seen)
    return gym_env.spec_of(likeness, name)


def settled(state: Any) -> Any:
    """A state whose arrays all have a type of their own: one that is still open changes after the first step, and compiles it twice."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), state)


def acting(obs: Any) -> Any:
    """What the policy sees of an observation: of a dictionary with more for a critic, the entry `state`."""
    return obs["state"] if isinstance(obs, dict) and "state" in obs else obs


def flat(obs: Any) -> Any:
    """An observation as a vector obs[O] float32: dictionaries by sorted key, as `types.flatten` orders them."""
    return jnp.concat([jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(obs)])
