"""Makes the parts of a run from its settings. `core`, `envs` and `loops` never read a `Config`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup import runtime
from swingup.config.presets import origins
from swingup.config.settings import (
    Config,
    actor_widths,
    check,
    critic_widths,
    demos_drawn,
    named_objects,
)
from swingup.envs.registry import EVAL_COPIES, in_jax
from swingup.envs.remarks import Remark, Remarks, ignore
from swingup.errors import InputError
from swingup.reports.progress import progress_callbacks
from swingup.runs.run import recipe_of
from swingup.storage import run_folder
from swingup.storage.named_objects import load_networks, load_object
from swingup.training.environments import EnvironmentRequest, Environments
from swingup.training.options import Options
from swingup.types import Spec

if TYPE_CHECKING:
    from swingup.core.custom_networks import Makers
    from swingup.core.engine import Plan
    from swingup.envs.goals import Goals
    from swingup.loops.base import Loop, Start
    from swingup.reports.callback import Callback
    from swingup.training.schedule import Schedule


class RunBuilder:
    """The settings of one run, and methods that make its parts from them.

    networks: the makers of actor and critic, if they are given in Python; else the setting may name them.
    """

    held = 0  # demonstrations kept beside replay, once they are known
    warmup_policy: Any = None  # a controller of the user's own, which acts in the warm-up

    def __init__(self, config: Config, networks: Makers | None = None):
        self.config, self.networks = check(config), networks
        self.env, self.preset, self.seed, self.threads = (
            config.env,
            config.preset,
            config.seed,
            config.threads,
        )

    def replace(self, **settings: Any) -> RunBuilder:
        """A builder with other values; InputError if one cannot be used."""
        return RunBuilder(dataclasses.replace(self.config, **settings), self.networks)

    def longer(self, steps: int) -> RunBuilder:
        """The same run with another number of steps; what falls along a line keeps the line that it had."""
        c = self.config
        falls = any(end is not None for end in (c.sigma_end, c.actor_lr_end, c.critic_lr_end))
        kept = {"schedule_steps": c.schedule_steps or c.steps} if falls and steps != c.steps else {}
        return self.replace(steps=steps, **kept)

    @property
    def steps(self) -> int:
        """The budget of environment steps."""
        return self.config.steps

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by name."""
        return dataclasses.asdict(self.config)

    @property
    def repeatable(self) -> bool:
        """Whether the same settings and seed give the same bits: not where rows are taken as they come."""
        return self.config.order != "free"

    @property
    def learnt_from(self) -> dict[str, Any]:
        """What decides what the run learns, as checkpoints record it: settings, and code of the user's."""
        policy = self.warmup_policy
        named = (
            {}
            if policy is None
            else {"warmup_policy": getattr(policy, "__qualname__", type(policy).__qualname__)}
        )
        return self.settings | named

    @property
    def title(self) -> str:
        """The run in one line: environment, preset, seed."""
        other = self.config.env_preset
        presets = self.preset if other in ("auto", "none") else f"{self.preset} with {other}"
        return f"{self.env} · preset {presets} · seed {self.seed}"

    def start(self, spec: Spec, goals: Goals | None = None) -> Start | None:
        """What the run takes from elsewhere before its first step; None if it begins untrained and empty.

        To be called before `loop`, as the plan depends on the number of demonstrations that are kept.
        """
        from swingup.training.start import read_start

        c = self.config
        if c.from_run is None and c.demos is None:
            return None
        start = read_start(self.plan(spec, goals), spec, c.from_run, c.from_keep)
        if c.demos is None:
            return start
        rows = demonstrations(c, spec)
        self.held = 0 if c.demo_share is None else len(rows)
        return start._replace(demos=rows)

    @property
    def origins(self) -> list[str]:
        """Which values came from which of two presets, a line for each; none where there is one preset."""
        return origins(self.config)

    def new_folder(self, options: Options, label: str | None = None) -> Path:
        """Make the run's folder; label: replaces the seed in its name."""
        name = options.exp_name or self.preset
        return run_folder.new_folder(options.run_dir, f"{self.env}__{name}__{label or self.seed}")

    def environments(
        self,
        source: Any,
        options: Options,
        remark: Remark = ignore,
        pause: Callable[[], None] = lambda: None,
    ) -> EnvironmentRequest:
        """The environments that the run needs; source: an id, an object or a function."""
        c = self.config
        return EnvironmentRequest(
            recipe=recipe_of(c, source),
            eval_recipe=recipe_of(c, source, evaluation=True),
            name=c.env,
            n=c.envs,
            eval_env=c.eval_env,
            copies=min(EVAL_COPIES, max(c.eval_episodes, c.final_episodes)),
            limit=c.episode_steps,
            workers=c.workers if c.on is None else None,
            devices=c.devices,
            threads=c.threads,
            exact=options.require_exact,
            record=options.record,
            render=options.render,
            quiet=options.quiet,
            elsewhere=c.on is not None,
            hindsight=c.hindsight is not None,
            remark=remark,
            pause=pause,
        )

    def remarks(self) -> Remarks:
        """Remarks on the run's environments, but for those that a setting has answered."""
        return Remarks({"scale"} if self.config.normalize else ())

    def check(self, spec: Spec) -> None:
        """InputError if a setting does not fit the environment, or replay does not fit into memory."""
        fit(self.config, spec)
        compiled = in_jax(self.env) or self.config.on is not None
        if self.warmup_policy is not None and compiled:
            raise InputError(
                f"warmup_policy: {self.env} is not stepped in this process, where the controller is; "
                "give an environment in Python, without --on"
            )
        enough_memory(self.config.capacity, spec.layout.width, self.config.priority is not None)

    def plan(self, spec: Spec, goals: Goals | None = None) -> Plan:
        """The engine's static description of the run; goals: of its environments, for --hindsight."""
        return plan(self.config, spec, goals, self.makers(), self.held)

    def makers(self) -> Makers | None:
        """The makers of the user's own networks, if there are any; InputError if they cannot be imported."""
        named = self.config.networks
        return self.networks or (load_networks(named) if named is not None else None)

    def schedule(self) -> Schedule:
        """When the run evaluates, saves and ends."""
        from swingup.training.schedule import Schedule

        c = self.config
        return Schedule(
            steps=c.steps,
            episodes=c.episodes,
            eval_every=c.eval_every,
            save_every=c.save_every or c.eval_every,
            eval_episodes=c.eval_episodes,
            final_episodes=c.final_episodes,
            within=c.within,
        )

    def loop(self, envs: Environments, **device: Any) -> Loop:
        """The loop for these environments, with the intervals of logs, evaluations and checkpoints.

        device: the argument `device` of `FusedLoop`, where several seeds share its program.
        """
        from swingup.reports.metrics_logger import log_interval

        if self.config.on is not None:
            what = "only train and resume have workers on a cluster"
            raise InputError(f"--on {self.config.on}: {what}; use swingup resume, or train without --on")
        c, made = self.config, self.plan(envs.spec, envs.goals)
        every: tuple[int, ...] = (log_interval(made), c.eval_every, c.save_every or c.eval_every)
        if envs.shared:
            every = (1,)  # the environment is free after every iteration
        if not in_jax(c.env):
            from swingup.loops.host import HostLoop

            own: dict[str, Any] = {"goals": envs.goals, "warmup_policy": self.warmup_policy}
            return HostLoop(made, envs.training, c.seed, every=every, end=c.steps, **own)
        from swingup.loops.fused import FusedLoop

        limit = c.episode_steps
        return FusedLoop(made, envs.training, c.seed, limit=limit, every=every, end=c.steps, **device)

    def callbacks(self) -> list[Callback]:
        """The callbacks that the settings name; InputError where one cannot be imported or is none."""
        from swingup.reports.callback import as_callbacks
        from swingup.reports.stock_callbacks import StopOnNoImprovement, StopOnReturn

        c = self.config
        found: list[Callback] = [] if c.stop_return is None else [StopOnReturn(c.stop_return)]
        found += [] if c.patience is None else [StopOnNoImprovement(c.patience)]
        for name, word in named_objects(c):
            if name == "callback":
                found += as_callbacks(load_object(word, "--callback"), f"--callback {word}")
        return found

    def progress(self, console: Any) -> Sequence[Callback]:
        """The callbacks that show the run's progress."""
        c = self.config
        return progress_callbacks(console, c.env, c.steps, c.episodes, c.episode_lines)

    def evaluator(
        self, loop: Loop, envs: Environments, folder: Path, *parts: Any, remark: Callable[..., None]
    ) -> Any:
        """The run's `Evaluator`; parts: callbacks, stop request and write guard."""
        from swingup.training.evaluator import Evaluator

        collapse = self.config.guard_collapse
        schedule = self.schedule()
        return Evaluator(
            loop, envs, self.seed, folder, schedule, *parts, restore_after_collapse=collapse, remark=remark
        )

    def checkpoint_writer(self, folder: Path) -> Any:
        """The only writer of the run's checkpoints; it takes the folder's lock."""
        from swingup.storage.checkpoint_writer import Checkpoints

        return Checkpoints(folder / "ckpt", self.config.keep, self.config.keep_every)

    def profile(self) -> dict[str, Any]:
        """What the bits of the run depend on besides seed and settings."""
        return runtime.profile(self.threads)


def fit(config: Config, spec: Spec) -> None:
    """InputError if a setting does not fit the environment."""
    if len(config.sigma) not in (1, spec.action_size):
        values = " ".join(map(str, config.sigma))
        raise InputError(
            f"--sigma {values}: {len(config.sigma)} numbers for {spec.action_size} actions; "
            "give one, or one each"
        )


def demonstrations(config: Config, spec: Spec) -> np.ndarray:
    """The rows[M, W] of --demos; InputError if they are none of this environment or too many for replay."""
    from swingup.training.demonstrations import read_demonstrations

    rows = read_demonstrations(config.demos or "", spec)
    least = config.n_step + (config.history or 1)
    if not least <= len(rows) <= config.capacity:
        raise InputError(
            f"--demos {config.demos}: {len(rows):,} transitions; give at least {least} "
            f"and at most --capacity {config.capacity}"
        )
    return rows


def plan(
    config: Config, spec: Spec, goals: Goals | None = None, makers: Makers | None = None, demos: int = 0
) -> Plan:
    """The engine's static description of this run; the networks get the environment's sizes.

    goals: of the environments, for --hindsight; makers: of the user's own networks, if there are any;
    demos: how many demonstrations are kept beside replay.
    """
    from swingup.core.agent import Agent, Smoothing
    from swingup.core.engine import Demos, Plan
    from swingup.core.heads import Categorical, Scalar
    from swingup.core.history import History
    from swingup.core.prioritized import Priority
    from swingup.core.sharding import share_devices

    fit(config, spec)
    history = None if config.history is None else History(config.history, spec.obs_size, spec.action_size)
    obs_size = spec.obs_size if history is None else history.size
    head = (
        Scalar()
        if config.atoms is None
        else Categorical(config.value_low or 0.0, config.value_high or 0.0, config.atoms)
    )
    actor, critic = networks(config, obs_size, spec.action_size, makers)
    agent = Agent(
        actor=actor,
        critic=critic,
        noise=noise(config, spec),
        actor_lr=rate(config, config.actor_lr, config.actor_lr_end, config.delay),
        critic_lr=rate(config, config.critic_lr, config.critic_lr_end, 1),
        gamma=config.gamma,
        tau=config.tau,
        batch=config.batch,
        head=head,
        critics=config.critics,
        delay=config.delay,
        smoothing=None if config.smoothing is None else Smoothing(config.smoothing, config.smoothing_clip),
        n_step=config.n_step,
        normalize=config.normalize or config.residual,
        reward_scale=config.reward_scale,
        weight_decay=config.weight_decay,
        grad_clip=config.grad_clip,
        precision=precise(config),
        history=history,
        dropout=config.dropout,
    )
    priority = None if config.priority is None else Priority(config.priority, config.priority_beta)
    updates = Fraction(config.updates).limit_denominator(1_000_000)
    sharding = share_devices(config.devices)
    made = Plan(
        agent,
        config.envs,
        config.capacity,
        config.warmup,
        # A policy that has learnt something is better in the warm-up than random actions.
        config.uniform and config.from_run is None,
        updates,
        priority,
        sharding,
        demos=Demos(demos, demos_drawn(config) or 0) if demos else None,
        collect=config.block,
    )
    return made if config.hindsight is None else with_hindsight(made, config, spec, goals)


def with_hindsight(made: Plan, config: Config, spec: Spec, goals: Goals | None) -> Plan:
    """The plan of a run that relabels goals; InputError if replay is shorter than an episode."""
    from swingup.core.hindsight import Hindsight

    if goals is None:
        raise InputError(f"--hindsight: {spec.env} is used here without its goals; leave --hindsight out")
    where = goals.achieved, goals.desired, goals.size
    made = dataclasses.replace(
        made, hindsight=Hindsight(config.relabel, *where, goals.limit, made.agent.n_step)
    )
    need = (goals.limit + made.block - 1) * made.columns
    if made.capacity < need:
        raise InputError(
            f"--capacity {made.capacity}: an episode and its relabelled rows do not fit into replay; "
            f"raise it to {need}"
        )
    return made


def networks(config: Config, obs_size: int, action_size: int, makers: Makers | None) -> tuple[Any, Any]:
    """Actor and critic for inputs and actions of these sizes: the user's own, or those of the settings."""
    if makers is not None:
        from swingup.core.custom_networks import make_networks

        return make_networks(makers, obs_size, action_size, config.atoms, config.networks or "")
    from swingup.core.networks import PAPER, TFLEARN, Actor, Critic

    sizes: dict[str, Any] = {
        "obs_size": obs_size,
        "action_size": action_size,
        "layer_norm": config.layer_norm,
        "activation": config.activation,
        "residual": config.residual,
        "weights": {"paper": PAPER, "tflearn": TFLEARN}[config.weights],
    }
    actor = Actor(hidden=actor_widths(config), **sizes)
    critic = Critic(
        hidden=critic_widths(config),
        action_layer=config.action_layer,
        outputs=config.atoms,
        batch_norm=config.batch_norm,
        **sizes,
    )
    return actor, critic


def precise(config: Config) -> Any:
    """The precision of matrix products from the settings; InputError if this device does not have it."""
    import jax

    if config.precision not in (None, "float32") and jax.default_backend() == "cpu":
        raise InputError(
            f"--precision {config.precision}: on a CPU products are float32; leave it out, or train on a GPU"
        )
    return config.precision


def noise(config: Config, spec: Spec) -> Any:
    """The exploration noise from the settings."""
    sigma: Any = config.sigma[0] if len(config.sigma) == 1 else config.sigma
    if config.sigma_end is not None:
        from swingup.core.schedules import Linear

        sigma = Linear(sigma, config.sigma_end, max((schedule_end(config) - config.warmup) // config.envs, 1))
    from swingup.core.noise import EpisodeDecay, Gaussian, OrnsteinUhlenbeck, Pink

    if config.noise == "decay":
        return EpisodeDecay(tuple((high - low) / 2 for low, high in zip(spec.low, spec.high, strict=True)))
    if config.noise == "ou":
        return OrnsteinUhlenbeck(sigma, config.ou_theta, config.ou_dt)
    return {"gaussian": Gaussian, "pink": Pink}[config.noise](sigma)


def schedule_end(config: Config) -> int:
    """The environment step at which noise and step sizes have come to their end values."""
    return config.schedule_steps or config.steps


def rate(config: Config, start: float, end: float | None, every: int) -> Any:
    """A step size, or its linear schedule over the run; every: updates per step of this optimiser."""
    from swingup.core.schedules import Linear

    updates = max(int((schedule_end(config) - config.warmup) * config.updates / every), 1)
    return start if end is None else Linear(start, end, updates)


def enough_memory(capacity: int, width: int, prioritised: bool) -> None:
    """InputError, with the largest capacity that fits, if replay does not fit into memory."""
    row = 4 * (width + 2 * prioritised)
    free = runtime.free_memory() * 0.9
    if capacity * row > free:
        raise InputError(
            f"--capacity {capacity}: replay takes {capacity * row / 2**30:,.1f} GiB and {free / 2**30:,.1f} "
            f"are free; the largest that fits is {int(free // row)}"
        )
