"""`DDPG` and `TD3` with the interface of Stable-Baselines3: `learn`, `predict`, `save`, `load` and more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import gymnasium
import numpy as np

from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.config.stable_baselines import settings_of
from swingup.core.policy import Policy
from swingup.envs.goals import goals_of_gym
from swingup.envs.gym_env import GymEnv
from swingup.envs.gym_ids import name_of
from swingup.envs.registry import factory
from swingup.errors import InputError
from swingup.reports.callback import Callback, RunContext
from swingup.reports.progress import Bar, console_of
from swingup.sb3.env_view import EnvView
from swingup.sb3.listeners import EpisodeLines, LoggerFeed, Records, listeners, listening, new_folder
from swingup.sb3.observations import obs_alone, rows_of
from swingup.sb3.replay import ReplayView, load_rows, save_rows
from swingup.sb3.vector_input import from_vector, is_vector
from swingup.storage import trusted_modules
from swingup.storage.model_file import Model, load_model, save_model
from swingup.training.build import RunBuilder
from swingup.training.signals import StopRequest, deferred_signals
from swingup.training.start import LEARNER, learner_arrays, learner_snapshot, network_settings, shaping

if TYPE_CHECKING:
    from swingup.loops.host import HostLoop

# Parts of a learner by the names that their parameters have there.
PARAMETERS = {
    "policy": ("actor", "critic", "target_actor", "target_critic", "obs_statistics"),
    "actor.optimizer": ("actor_opt",),
    "critic.optimizer": ("critic_opt",),
}


class class_or_instance:
    """A method that gets the object it is called on, or the class where it is called on that."""

    def __init__(self, method: Callable[..., Any]):
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        return partial(self.method, owner if instance is None else instance)


class DDPG:
    """A DDPG agent on one environment, or on several that step together.

    DDPG("MlpPolicy", env, ...) or DDPG(env, ...). env: an id, a Gymnasium environment, a function that makes
    one, or a vector environment of Gymnasium or Stable-Baselines3. settings: fields of `Config`, or the
    arguments of Stable-Baselines3's DDPG and TD3; what is not said is the preset's for the environment, which
    explores with noise (there: without). seed=None draws a seed. warmup_policy: a controller that acts until
    learning starts, as for `swingup.train`. InputError for an argument whose effect does not exist here, with
    our word for it.
    """

    adds: ClassVar[dict[str, Any]] = {}  # the settings of a subclass
    env: Any
    warmup_policy: Any = None

    def __init__(self, *args: Any, preset: str = "auto", warmup_policy: Any = None, **settings: Any):
        settings = positions(args, settings, self.name)
        source = settings.pop("env")
        self.verbose: int = settings.get("verbose", 0)
        self.tensorboard_log: str | Path | None = settings.get("tensorboard_log")
        self.window: int = settings.get("stats_window_size", 100)
        count = source.num_envs if is_vector(source) else 1
        ours = self.adds | settings_of(settings, self.name, count)
        if count > 1:
            ours.setdefault("envs", count)
        self.open(source, ours)
        self.configure(source if isinstance(source, str) else name_of(self.env.envs[0]), preset, ours)
        self.warmup_policy = warmup_policy

    def open(self, source: Any, settings: dict[str, Any]) -> None:
        """Make the environments: all that are told apart by `settings` are their number and time limit."""
        wanted, limit = settings.get("envs", 1), settings.get("episode_steps")
        self.given = source if is_vector(source) else None  # what get_env returns
        if self.given is not None:
            self.env = from_vector(source, limit)
        elif isinstance(source, gymnasium.Env):
            if wanted != 1:
                raise InputError(
                    f"{self.name}: n_envs={wanted} of one object; give an id or a function that makes them"
                )
            self.env = GymEnv(lambda: source, 1, limit=limit)
        else:
            if isinstance(source, str):
                trusted_modules.allow(source)
            self.env = GymEnv(factory(source), wanted, limit=limit)
        if self.env.n != wanted:
            raise InputError(f"{self.name}: n_envs={wanted} of an object of {self.env.n}; leave n_envs out")
        self.view: EnvView | None = None

    def configure(self, env: str, preset: str, settings: dict[str, Any]) -> None:
        """Set what a model has besides its environment, before it has learnt or loaded anything."""
        unlimited = {"env": env, "steps": 2**31 - 1}  # `learn` says how many
        start = base(env, preset, env_preset=settings.pop("env_preset", "auto"))
        kept = (settings.get("from_keep"), settings.get("keep"))
        taken = network_settings(settings.get("from_run"), "weights" in kept)
        self.config = check(apply(start, unlimited | taken | settings, self.name))
        if self.config.history is not None:
            raise InputError(
                f"{self.name}: history={self.config.history}: predict remembers nothing; "
                "train it with swingup.train, whose policy does"
            )
        self.rng = np.random.default_rng(self.config.seed)
        self.logger = self.records = Records()
        self.loop: Any = None
        self.loaded: Model | None = None  # what a file held, until learning goes on from it
        self.num_timesteps = 0

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def observation_space(self) -> Any:
        """The environment's space of observations; None without an environment."""
        return None if self.env is None else self.env.envs[0].observation_space

    @property
    def action_space(self) -> Any:
        """The environment's space of actions; None without an environment."""
        return None if self.env is None else self.env.envs[0].action_space

    @property
    def n_envs(self) -> int:
        """How many environments step together."""
        return self.config.envs

    @property
    def policy(self) -> Policy:
        """The greedy policy of the current weights; the initial ones before `learn`."""
        return self.started().policy() if self.loaded is None else self.loaded.policy

    @property
    def replay(self) -> ReplayView:
        """The model's replay; `add` puts transitions of other origin into it."""
        return ReplayView(self.started())

    @property
    def replay_buffer(self) -> ReplayView:
        """The replay under the name that Stable-Baselines3 gives it."""
        return self.replay

    def started(self, steps: int | None = None) -> Any:
        """The training loop, made when it is first needed; steps: over how many a step size falls."""
        if self.loop is not None:
            return self.loop
        if self.loaded is not None and not self.loaded.arrays:
            raise InputError(
                f"{self.name}: this file holds a policy alone, which acts and cannot go on learning; "
                "save(path) without learner=False keeps critics and optimisers, too"
            )
        c = self.config
        if self.env is None:
            self.open(
                trusted_modules.check(c.env, Path(c.env)), {"envs": c.envs, "episode_steps": c.episode_steps}
            )
        falls = (c.sigma_end, c.actor_lr_end, c.critic_lr_end)
        if c.schedule_steps is None and steps and any(end is not None for end in falls):
            self.config = dataclasses.replace(c, schedule_steps=steps)
        self.loop = self.make_loop()
        return self.loop

    def make_loop(self) -> HostLoop:
        """The loop of a model that has not learnt yet, or that goes on from a file."""
        from swingup import runtime

        runtime.prepare(self.config.threads)
        from swingup.loops.host import HostLoop

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
            self.loaded, self.num_timesteps = None, loop.steps
        elif start is not None:
            loop.begin_with(start)
        return loop

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int | None = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for so many more environment steps; returns self.

        callback: a `swingup.Callback`, an object with `on_step` as Stable-Baselines3's, a function of the
        iteration's result or of (locals, globals), or a list of these; False from a function ends training.
        log_interval: episodes between the lines of verbose=1. reset_num_timesteps: count `num_timesteps` from
        zero; training itself goes on where it was. An interrupt is raised after the iteration that is being
        computed, so that the model stays usable.
        """
        total_timesteps = int(total_timesteps)
        arguments = {k: v for k, v in locals().items() if k not in ("self", "callback")}
        loop, stop = self.started(total_timesteps), StopRequest()
        if self.view is not None and self.view.touched:  # the episodes of training were left
            loop.set_env(self.env)
            self.view.touched = False
        if reset_num_timesteps:
            self.num_timesteps = 0
        before = loop.steps - self.num_timesteps
        loop.end = loop.steps + total_timesteps  # no log or evaluation is due before
        users = listeners(callback, self, arguments)
        folder, ours = self.watchers(loop, **arguments)
        settings = dataclasses.asdict(self.config)
        run = RunContext(folder, settings, loop, not reset_num_timesteps, stop.end, print)
        ahead = not users and self.records.board is None  # they may look at the learner
        with deferred_signals() as handle_signals, listening(ours, users, run) as callbacks:
            while loop.steps < loop.end and not stop.asked:
                result = loop.step(ahead)
                self.num_timesteps = loop.steps - before
                callbacks.on_iteration(result._replace(step=self.num_timesteps))
                handle_signals()
        return self

    def watchers(
        self,
        loop: Any,
        total_timesteps: int,
        log_interval: int | None,
        tb_log_name: str | None,
        reset_num_timesteps: bool,
        progress_bar: bool,
    ) -> tuple[Path | None, list[Callback]]:
        """The folder of the logs, and what shows and logs a call of `learn`."""
        found: list[Callback] = []
        folder: Path | None = None
        if self.tensorboard_log is not None:
            from swingup.reports.metrics_logger import MetricsLogger

            before = None if reset_num_timesteps else self.records.board
            folder = before.folder if before else new_folder(self.tensorboard_log, tb_log_name or self.name)
            board = MetricsLogger(folder, console_of(quiet=not self.verbose).print, loop)
            if before:
                board.restore(before.state())
            self.records.board = board
            found.append(board)
        if self.verbose and log_interval:
            found.append(EpisodeLines(log_interval, self.window))
        if self.logger is not self.records:
            found.append(LoggerFeed(log_interval or 1, self.window, self.logger))
        if progress_bar:
            found.append(Bar(console_of(quiet=False), self.num_timesteps + total_timesteps))
        return folder, found

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """The action for one observation or a batch, in the environment's units, and the state unchanged.

        observation: as the environment gives it; (obs, info), as its reset returns it, too. Greedy by
        default; deterministic=False adds N(0, sigma) noise, drawn from the model's own seed. state and
        episode_start are for recurrent policies, which do not exist here.
        """
        policy = self.policy
        obs, space = obs_alone(observation, policy.spec), self.observation_space
        batch = rows_of(obs, space) if isinstance(obs, (dict, tuple)) and space is not None else None
        action = policy(obs) if batch is None else np.stack([policy(row) for row in batch])
        if not deterministic:
            unit = policy.spec.from_env(action)
            noise = self.rng.normal(0, 1, unit.shape) * self.config.sigma
            action = policy.spec.to_env(np.clip(unit + noise, -1, 1))
        return action, state

    def get_env(self) -> Any:
        """The environments as Stable-Baselines3's vector environments are: the one that was given, or a view.

        A view steps the environments of training: `learn` begins new episodes after it was used.
        """
        if self.given is None and self.env is not None and self.view is None:
            self.view = EnvView(self.env)
        return self.given or self.view

    def get_vec_normalize_env(self) -> None:
        """No environment has statistics here: normalize=True keeps them with the policy."""
        return None

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Go on in another environment of the same sizes and bounds; its episodes begin anew.

        InputError where it does not fit.
        """
        before = self.env, self.given, self.view
        self.open(env, {"envs": self.config.envs, "episode_steps": self.config.episode_steps})
        try:
            if self.loop is not None or self.loaded is not None:
                self.policy.check(self.env.spec)
        except InputError:
            self.env, self.given, self.view = before
            raise
        if self.loop is not None:
            self.loop.set_env(self.env)

    def set_logger(self, logger: Any) -> None:
        """Give figures of episodes and losses to a logger with `record` and `dump`, as log_interval says."""
        self.logger = logger

    def set_random_seed(self, seed: int | None = None) -> None:
        """Set the seed of all that is drawn; InputError once training has begun, whose draws it decides."""
        if self.loop is not None:
            raise InputError(
                f"{self.name}.set_random_seed: training has begun; give seed= to {self.name}(...)"
            )
        self.config = check(apply(self.config, settings_of({"seed": seed}, self.name), self.name))
        self.rng = np.random.default_rng(self.config.seed)

    def save(self, path: str | Path, exclude: Any = None, include: Any = None, learner: bool = True) -> None:
        """Write the model as a safetensors file (no pickle), by default with that ending; replay is apart.

        learner: with critics and optimisers, from which a loaded model goes on learning; False: the policy
        alone. exclude, include: attributes of Stable-Baselines3's objects, which do not exist here.
        """
        save_model(with_ending(path), self.model if learner else Model(self.policy, {}, {}))

    @property
    def model(self) -> Model:
        """What a file keeps of this model."""
        if self.loaded is not None:
            return self.loaded
        loop = self.started()
        policy = loop.policy()
        while not loop.settled:  # an interrupt leaves an iteration that is computed and not counted
            loop.step(ahead=False)
        return Model(policy, dataclasses.asdict(self.config), learner_arrays(loop.snapshot()))

    @class_or_instance
    def load(owner: Any, path: str | Path, env: Any = None, device: Any = "auto", **settings: Any) -> Any:
        """Load what `save` wrote: `DDPG.load(path)` is a new model, with the settings that it was saved with.

        It acts, and `learn` goes on from the saved weights, optimisers and counters: its policy fills a new
        replay for as many steps as a warm-up has, or `load_replay_buffer` does. `model.load(path)` keeps the
        model's own settings, except for those of the networks. env: an environment for the policy, by default
        the saved one's id; InputError where its sizes or bounds are others. settings: values in place of the
        saved ones.
        """
        saved, fresh = load_model(existing(path)), not isinstance(owner, DDPG)
        model = owner.__new__(owner) if fresh else owner
        shown = {"verbose": 0, "tensorboard_log": None, "stats_window_size": 100}
        theirs = ("custom_objects", "print_system_info", "force_reset", *shown)
        others = (settings.get("custom_objects") or {}) | {
            k: v for k, v in settings.items() if k not in theirs
        }
        if fresh:
            model.env = model.given = model.view = None
            shown |= {k: v for k, v in settings.items() if k in shown}
            model.verbose, model.tensorboard_log, model.window = shown.values()
            begin = {"env": saved.policy.spec.env, "preset": "ddpg", **saved.settings}
            begin |= dict.fromkeys(("from_run", "demos", "demo_share"))
            one = env is not None and (is_vector(env) or isinstance(env, gymnasium.Env))
            begin |= {"envs": getattr(env, "num_envs", 1)} if one else {}
            begin |= settings_of(others, model.name, begin.get("envs", 1))
        else:
            begin = vars(model.config) | shaping(saved.settings, weights=False)
        if env is not None:
            model.open(env, begin)
            begin["env"] = env if isinstance(env, str) else name_of(model.env.envs[0])
        if model.env is not None:
            saved.policy.check(model.env.spec)
        if fresh:
            model.configure(begin.pop("env"), begin.pop("preset"), begin)
        else:
            model.config = check(apply(model.config, shaping(saved.settings, weights=False), str(path)))
        model.loop, model.loaded = None, saved
        return model

    def save_replay_buffer(self, path: str | Path) -> None:
        """Write what replay holds as a safetensors file, by default with that ending."""
        view = self.replay
        save_rows(with_ending(path), view.rows(), self.loop.spec.obs_size, self.loop.spec.action_size)

    def load_replay_buffer(self, path: str | Path, truncate_last_traj: bool = True) -> None:
        """Replace replay by a saved one, of which the newest transitions are kept where not all fit.

        Its last episodes end as if truncated. Learning starts at once where it holds enough.
        """
        loop = self.started()
        loop.set_replay(
            load_rows(existing(path), loop.plan.columns, loop.spec.obs_size, loop.spec.action_size)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The learner's arrays by name."""
        from swingup.core.named_arrays import flatten_named

        return flatten_named(self.started().learner())

    def get_parameters(self) -> dict[str, dict[str, np.ndarray]]:
        """Copies of all weights and optimisers' states: "policy", "actor.optimizer", "critic.optimizer"."""
        arrays = {name.removeprefix("."): array for name, array in self.arrays().items()}
        return {
            part: {k: v for k, v in arrays.items() if k.partition("[")[0].partition(".")[0] in fields}
            for part, fields in PARAMETERS.items()
        }

    def set_parameters(self, load_path_or_dict: Any, exact_match: bool = True, device: Any = "auto") -> None:
        """Replace weights and optimisers' states by those of `get_parameters`, or of a saved model.

        exact_match: whether all must be given. InputError for unknown names, other shapes or missing ones.
        """
        from swingup.core.named_arrays import unflatten_named

        loop, now = self.started(), self.arrays()
        if isinstance(load_path_or_dict, dict):
            given = {f".{k}": np.asarray(v) for part in load_path_or_dict.values() for k, v in part.items()}
        else:
            arrays = load_model(existing(load_path_or_dict)).arrays
            given = {k.removeprefix(LEARNER): v for k, v in arrays.items() if k.startswith(LEARNER)}
        if odd := sorted(given.keys() ^ now.keys()) if exact_match else sorted(given.keys() - now.keys()):
            what = "missing" if odd[0] in now else "not a parameter here"
            raise InputError(f"{self.name}.set_parameters: {odd[0][1:]} is {what}")
        loop.set_learner(unflatten_named(loop.state.learner, now | given))


class TD3(DDPG):
    """DDPG with the smaller of two critics' targets, a delayed actor and smoothed targets (1802.09477)."""

    adds: ClassVar[dict[str, Any]] = {"critics": 2, "delay": 2, "smoothing": 0.2}


def positions(args: tuple[Any, ...], named: dict[str, Any], name: str) -> dict[str, Any]:
    """All arguments by name: (policy, env, learning_rate), where the policy may be left out."""
    order = ("env",) if len(args) == 1 and "env" not in named else ("policy", "env", "learning_rate")
    given = dict(zip(order, args, strict=False))
    if len(args) > len(order) or given.keys() & named.keys() or not {"env"} <= given.keys() | named.keys():
        raise InputError(f'{name}: expected one environment, for example {name}("Pendulum-v1")')
    return given | named


def with_ending(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix else path.with_suffix(".safetensors")


def existing(path: str | Path) -> Path:
    """The file that was saved under this name, with or without the ending that it got."""
    named = with_ending(path)
    added = Path(f"{path}.safetensors")
    return added if not named.is_file() and added.is_file() else named
