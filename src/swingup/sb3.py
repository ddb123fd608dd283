"""`DDPG` and `TD3` with the interface of Stable-Baselines3: `learn`, `predict`, `save`, `load`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import gymnasium
import numpy as np

from swingup.config.fields import aliases
from swingup.config.presets import base
from swingup.config.settings import Config, apply, check
from swingup.core.policy import Policy
from swingup.envs.goals import goals_of_gym
from swingup.envs.gym_env import GymEnv, name_of
from swingup.envs.registry import factory
from swingup.errors import InputError
from swingup.storage import trusted_modules
from swingup.storage.model_file import Model, load_model, save_model
from swingup.training.build import RunBuilder
from swingup.training.callbacks import learn_with_callbacks
from swingup.training.demonstrations import pack
from swingup.training.signals import deferred_signals
from swingup.training.start import learner_arrays, learner_snapshot, network_settings, shaping

if TYPE_CHECKING:
    from swingup.loops.host import HostLoop

if TYPE_CHECKING:
    from swingup.reports.callback import Callbackable


class class_or_instance:
    """A method that gets the object it is called on, or the class where it is called on that."""

    def __init__(self, method: Callable[..., Any]):
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        return partial(self.method, owner if instance is None else instance)


def spelled_our_way(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by our names; gradient_steps follow train_freq steps of all n_envs environments, as there."""
    theirs = {alias.replace("-", "_"): names for alias, names in aliases(Config).items()}
    ours = {name: value for key, value in settings.items() for name in theirs.get(key, (key,))}
    if (steps := settings.get("gradient_steps")) is not None:
        # There -1 stands for as many as environment steps were taken.
        ours["updates"] = 1.0 if steps == -1 else steps / (ours.get("block", 1) * ours.get("envs", 1))
    return ours


class Replay:
    """The replay of a model."""

    def __init__(self, loop: HostLoop):
        self.loop = loop

    def __len__(self) -> int:
        """How many transitions it holds."""
        ring = self.loop.state.replay
        return min(int(ring.added), len(ring.rows)) * self.loop.plan.columns

    def add(
        self, obs: Any, action: Any, reward: Any, terminated: Any, truncated: Any, next_obs: Any = None
    ) -> None:
        """Store T transitions in order of time, in the environment's units; they count for the warm-up.

        obs[T, *obs_shape], action[T, *action_shape], reward[T], terminated[T], truncated[T]. Without
        next_obs[T, *obs_shape] a step's successor is the next step's observation, and steps without one are
        left out. InputError if a value is wrong.
        """
        rows = pack(self.loop.spec, "replay.add", obs, action, reward, terminated, truncated, next_obs)
        self.loop.add(rows)


class DDPG:
    """A DDPG agent on one environment.

    env: an id, a Gymnasium environment, or a function that makes one ("MlpPolicy" before it is accepted).
    settings: fields of `Config`, or their Stable-Baselines3 names (learning_rate, buffer_size, batch_size,
    learning_starts, train_freq, gradient_steps); they override the preset. Exploration noise is on by
    default. warmup_policy: a controller that acts until learning starts, as for `swingup.train`.
    """

    adds: ClassVar[dict[str, Any]] = {}  # the settings of a subclass
    warmup_policy: Any = None

    def __init__(self, *env: Any, preset: str = "auto", warmup_policy: Any = None, **settings: Any):
        source = env[-1] if env else None
        if not env or len(env) > 2 or (len(env) == 2 and env[0] != "MlpPolicy"):
            raise InputError(f'{self.name}: expected one environment, for example {self.name}("Pendulum-v1")')
        ours = self.adds | spelled_our_way(settings)
        made = source if isinstance(source, gymnasium.Env) else None
        if made is not None and ours.get("envs", 1) != 1:
            raise InputError(
                f"{self.name}: n_envs={ours['envs']} of one object; give an id or a function that makes them"
            )
        if isinstance(source, str):
            trusted_modules.allow(source)
        make = (lambda: made) if made is not None else factory(source)
        self.env: GymEnv | None = GymEnv(make, ours.get("envs", 1), limit=ours.get("episode_steps"))
        self.configure(source if isinstance(source, str) else name_of(self.env.envs[0]), preset, ours)
        self.warmup_policy = warmup_policy

    def configure(self, env: str, preset: str, settings: dict[str, Any]) -> None:
        """Set what a model has besides its environment, before it has learnt or loaded anything."""
        unlimited = {"env": env, "steps": 2**31 - 1}  # `learn` says how many
        kept = (settings.get("from_keep"), settings.get("keep"))
        taken = network_settings(settings.get("from_run"), "weights" in kept)
        self.config = check(apply(base(env, preset), unlimited | taken | settings, self.name))
        if self.config.history is not None:
            raise InputError(
                f"{self.name}: history={self.config.history}: predict remembers nothing; "
                "train it with swingup.train, whose policy does"
            )
        self.rng = np.random.default_rng(self.config.seed)
        self.loop: Any = None
        self.loaded: Model | None = None

    def learn(self, total_timesteps: int, callback: Callbackable = None) -> Self:
        """Train for so many more environment steps; returns self.

        callback: a `Callback`, a function of each iteration's result (learning stops where it returns False),
        or a list of them. They hear of iterations and episodes; evaluations and checkpoints are `train`'s.

        An interrupt is raised after the iteration that is being computed, so that the model stays usable.
        """
        if self.loop is None:
            self.loop = self.make_loop()
        self.loop.end = self.loop.steps + total_timesteps  # no log or evaluation is due before
        with deferred_signals() as handle_signals:
            for _ in learn_with_callbacks(self.loop, callback, asdict(self.config)):
                handle_signals()
        return self

    def make_loop(self) -> HostLoop:
        """The loop of a model that has not learnt yet, or that goes on from a file."""
        from swingup import runtime

        runtime.prepare(self.config.threads)
        from swingup.loops.host import HostLoop

        if self.loaded is not None and not self.loaded.arrays:
            raise InputError(
                f"{self.name}: this file holds a policy alone, which acts and cannot go on learning; "
                "save(path) without learner=False keeps critics and optimisers, too"
            )
        if self.env is None:
            source = trusted_modules.check(self.config.env, Path(self.config.env))
            self.env = GymEnv(factory(source), self.config.envs, limit=self.config.episode_steps)
        builder = RunBuilder(self.config)
        builder.check(self.env.spec)
        goals = goals_of_gym(self.env) if self.config.hindsight else None
        start = None if self.loaded is not None else builder.start(self.env.spec, goals)
        plan = builder.plan(self.env.spec, goals)
        if self.loaded is not None:
            plan = dataclasses.replace(plan, uniform=False)  # a policy that has learnt fills replay
        taken: dict[str, Any] = {"goals": goals, "warmup_policy": self.warmup_policy}
        loop = HostLoop(plan, self.env, self.config.seed, every=(), **taken)
        if self.loaded is not None:
            loop.restore(learner_snapshot(loop, self.loaded.arrays, self.config.env))
            self.loaded = None
        elif start is not None:
            loop.begin_with(start)
        return loop

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
        return self.loaded.policy

    def predict(self, obs: Any, deterministic: bool = True) -> tuple[np.ndarray, None]:
        """The action for one observation or a batch, in the environment's units, and None as recurrent state.

        Greedy by default; deterministic=False adds N(0, sigma) noise, drawn from the model's own seed.
        """
        if isinstance(obs, tuple) and len(obs) == 2 and obs[1] == {} and len(self.policy.spec.obs_shape) == 1:
            raise InputError(
                f"{self.name}.predict: this is what reset() returns, (obs, info); give it obs alone"
            )
        action = self.policy(obs)
        if not deterministic:
            spec = self.policy.spec
            unit = spec.from_env(action)
            action = spec.to_env(np.clip(unit + self.rng.normal(0, 1, unit.shape) * self.config.sigma, -1, 1))
        return action, None

    def save(self, path: str | Path, learner: bool = True) -> None:
        """Write the model as a safetensors file (no pickle), by default with that ending.

        learner: whether critics, optimisers and settings are in it, so that a model that is loaded can go on
        learning; without them it is the policy's small file. Replay is not in it.
        """
        save_model(with_ending(path), self.model if learner else Model(self.policy, {}, {}))

    @property
    def replay(self) -> Replay:
        """The model's replay; `add` puts transitions of other origin into it."""
        if self.loop is None:
            self.loop = self.make_loop()
        return Replay(self.loop)

    @property
    def model(self) -> Model:
        """What a file keeps of this model."""
        if self.loaded is not None:
            return self.loaded
        policy = self.policy
        while not self.loop.settled:  # an interrupt leaves an iteration that is computed and not counted
            self.loop.step(ahead=False)
        return Model(policy, dataclasses.asdict(self.config), learner_arrays(self.loop.snapshot()))

    @class_or_instance
    def load(owner: Any, path: str | Path, env: Any = None) -> Any:
        """Load what `save` wrote: `DDPG.load(path)` is a new model, with the settings that it was saved with.

        It acts, and `learn` goes on from the saved weights, optimisers and counters: its policy fills a new
        replay for as many steps as a warm-up has. `model.load(path)` keeps the model's own settings, except
        for those of the networks. env: an environment for the policy, by default the saved one's id;
        InputError where its sizes or bounds are others.
        """
        saved = load_model(with_ending(path))
        model = owner if isinstance(owner, DDPG) else owner.__new__(owner) if env is None else owner(env)
        settings = {
            "env": saved.policy.spec.env,
            "preset": "ddpg",
            **saved.settings,
            "from_run": None,
            "demos": None,
            "demo_share": None,
        }
        if model is not owner:
            if env is None:
                model.env = None
            elif model.env is not None:
                settings |= {"env": model.config.env, "envs": model.env.n}
            model.configure(settings["env"], settings["preset"], settings)
        else:
            model.config = check(apply(model.config, shaping(saved.settings, weights=False), str(path)))
        if model.env is not None:
            saved.policy.check(model.env.spec)
        model.loop, model.loaded = None, saved
        return model


class TD3(DDPG):
    """DDPG with the smaller of two critics' targets, a delayed actor and smoothed targets (1802.09477)."""

    adds: ClassVar[dict[str, Any]] = {"critics": 2, "delay": 2, "smoothing": 0.2}


def with_ending(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix else path.with_suffix(".safetensors")
