"""Every setting of a run in one frozen dataclass, and the checks across several of them. Needs no JAX.

Precedence: the defaults here < the preset < `--config FILE` < flags. Nothing writes to a Config after it is
made.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from swingup.config.fields import check_ranges, fields, from_value, owner, setting
from swingup.errors import InputError, nearest
from swingup.types import Precision

Place = Literal["ray"]
Order = Literal["lockstep", "free"]
Noise = Literal["gaussian", "ou", "pink", "decay"]
Weights = Literal["paper", "tflearn"]
EvalEnv = Literal["copies", "same", "none"]
Activation = Literal["relu", "elu", "silu", "tanh"]
Kept = Literal["weights", "learner", "replay"]
Strategy = Literal["future"]

# The groups of settings, in the order of `swingup train --help`.
RUN, BUDGET, ENVIRONMENT, NETWORKS = "run", "budget", "environment", "networks"
OPTIMISATION, TARGETS, REPLAY, EXPLORATION = "optimisation", "targets", "replay", "exploration"
CRITICS, EVALUATION, CHECKPOINTS, HARDWARE = "critics", "evaluation", "checkpoints", "hardware"

# The range of a count of environment steps or episodes.
STEPS = "[1, 2147483647]"


@dataclass(frozen=True)
class Config:
    """The settings of one training run."""

    env: str = setting(
        "",
        "Environment: a Gymnasium id, or module:Id to import the module that registers it.",
        RUN,
        aliases="env-id",
        positional="ENV",
    )
    preset: str = setting(
        "auto",
        "Named settings to start from (swingup presets); auto picks by environment, else ddpg.",
        RUN,
        first=True,
    )
    env_preset: str = setting(
        "auto",
        "Whose settings an algorithm's preset (td3, d4pg) is combined with: auto is the environment's own "
        "preset, none leaves all to the algorithm's.",
        RUN,
    )
    seed: int = setting(
        0,
        "Seed of every random choice: the same seed and settings give the same bytes.",
        RUN,
        values="[0, 4294967295]",
        first=True,
    )
    from_run: str | None = setting(
        None,
        "Begin with what another run has learnt: its folder, or the file of a saved model. "
        "Its settings of networks and critics are the defaults then, and the warm-up acts with its policy.",
        RUN,
        flag="--from",
    )
    from_keep: Kept = setting(
        "learner",
        "What --from takes, also written --keep: weights (the policy), learner (every network and optimiser) "
        "or replay (learner and replay).",
        RUN,
        shares="keep",
    )
    episode_lines: bool = setting(
        False,
        "Print a line for each episode (reward, number, Qmax), as the 2017 tutorial does, "
        "instead of the progress bar.",
        RUN,
    )
    callback: str | None = setting(
        None,
        "Callbacks of your own, as module:Name of a swingup.Callback or of a function of an iteration's "
        "result; several with commas between them.",
        RUN,
    )

    steps: int = setting(
        100_000,
        "Environment steps to train for, summed over the environments.",
        BUDGET,
        values=STEPS,
        aliases="total-timesteps n-timesteps",
        first=True,
    )
    episodes: int | None = setting(
        None,
        "Stop after this many training episodes, if --steps is not reached before.",
        BUDGET,
        values=STEPS,
    )

    episode_steps: int | None = setting(
        None,
        "Truncate episodes after this many steps, for environments without a time limit.",
        ENVIRONMENT,
        values=STEPS,
    )
    env_kwargs: dict[str, Any] | None = setting(
        None,
        "Arguments of the environment's constructor, NAME=VALUE with commas between; kept with the run.",
        ENVIRONMENT,
        aliases="env-args",
    )
    eval_env_kwargs: dict[str, Any] | None = setting(
        None,
        "Arguments that evaluations and videos have instead of, or besides, those of --env-kwargs.",
        ENVIRONMENT,
    )
    wrapper: tuple[str, ...] = setting(
        (),
        "A wrapper around the environment, module:function or module:Class; given again, around that.",
        ENVIRONMENT,
        aliases="env-wrapper",
    )
    action_low: tuple[float, ...] | None = setting(
        None,
        "Lowest action, where the environment's bounds are infinite or you want less of its range: "
        "one number, or one per action dimension.",
        ENVIRONMENT,
    )
    action_high: tuple[float, ...] | None = setting(None, "Highest action, likewise.", ENVIRONMENT)
    envs: int = setting(
        1,
        "Environments stepped side by side; --updates applies to each step of each environment.",
        ENVIRONMENT,
        values="[1, 4096]",
        aliases="num-envs n-envs",
        first=True,
    )
    workers: int | None = setting(
        None,
        "Processes that step the environments; one that hangs, raises or is killed "
        "is restarted, and its episode repeated.",
        ENVIRONMENT,
        values="[1, 1024]",
    )

    on: Place | None = setting(
        None,
        "Where --workers are, or the runs of --seeds: ray has them on a Ray cluster, of this machine or of "
        "--address; by default they are processes of this machine.",
        ENVIRONMENT,
    )
    order: Order = setting(
        "lockstep",
        "With --on ray: lockstep (workers wait for one another; the same bits with any number of them) or "
        "free (rows are learnt from as they arrive, and each worker explores with a strength of its own).",
        ENVIRONMENT,
    )

    networks: str | None = setting(
        None,
        "Networks of your own, as module:function of a function(obs_size, action_size, outputs) that returns "
        "actor and critic (docs/networks.md); the settings of swingup's own networks have no effect then.",
        NETWORKS,
    )
    hidden: tuple[int, ...] = setting(
        (256, 256), "Widths of the hidden layers of actor and critic.", NETWORKS, aliases="net-arch"
    )
    actor_hidden: tuple[int, ...] | None = setting(
        None, "Widths of the actor's hidden layers, where they are not those of --hidden.", NETWORKS
    )
    critic_hidden: tuple[int, ...] | None = setting(
        None, "Widths of the critic's hidden layers, where they are not those of --hidden.", NETWORKS
    )
    activation: Activation = setting(
        "relu", "Activation of the hidden layers of actor and critic.", NETWORKS, aliases="activation-fn"
    )
    action_layer: int = setting(
        1,
        "The critic's hidden layer that gets the action: 1 as in TD3, 2 as in the DDPG paper.",
        NETWORKS,
        values="[1, 64]",
    )
    weights: Weights = setting(
        "paper",
        "Initial weights: paper (uniform by fan-in, last layers up to 3e-3) "
        "or tflearn (as in the 2017 tutorial).",
        NETWORKS,
    )
    layer_norm: bool = setting(False, "Layer norm before each activation of actor and critic.", NETWORKS)
    history: int | None = setting(
        None,
        "Observations in the networks' input: the last ones of the episode, and the actions between them, "
        "for environments that do not show their whole state.",
        NETWORKS,
        values="[2, 256]",
    )
    residual: bool = setting(
        False,
        "Residual blocks with layer norm and four times as many inner units, one for each of the (equal) "
        "hidden widths, on normalised observations (SimBa, arXiv 2410.09754).",
        NETWORKS,
    )
    normalize: bool = setting(
        False,
        "Normalise observations by their running mean and variance; "
        "the statistics are frozen in evaluations and saved with the policy.",
        NETWORKS,
    )

    actor_lr: float = setting(
        1e-3,
        "Adam's step size for the actor.",
        OPTIMISATION,
        values="(0, 1]",
        aliases="learning-rate policy-lr",
    )
    critic_lr: float = setting(
        1e-3, "Adam's step size for the critic.", OPTIMISATION, values="(0, 1]", aliases="learning-rate q-lr"
    )
    actor_lr_end: float | None = setting(
        None,
        "Change the actor's step size linearly to this by the end of the run.",
        OPTIMISATION,
        values="[0, 1]",
    )
    critic_lr_end: float | None = setting(
        None,
        "Change the critic's step size linearly to this by the end of the run.",
        OPTIMISATION,
        values="[0, 1]",
    )
    batch: int = setting(
        256, "Transitions in a minibatch.", OPTIMISATION, values="[1, 1048576]", aliases="batch-size"
    )
    updates: float = setting(
        1.0,
        "Gradient steps for each environment step; "
        "below one with many environments (0.01: one for a hundred).",
        OPTIMISATION,
        values="(0, 1024]",
        aliases="gradient-steps",
    )
    block: int = setting(
        1,
        "Time steps that an iteration collects with one policy before it makes the updates due for them in "
        "one program; rounded up to a whole number of actor steps.",
        OPTIMISATION,
        values="[1, 100000]",
        aliases="train-freq update-every",
    )
    weight_decay: float | None = setting(
        None,
        "L2 on the critic's weights, added to its gradient (the DDPG paper has 1e-2).",
        OPTIMISATION,
        values="(0, 1]",
    )
    grad_clip: float | None = setting(
        None,
        "Largest global norm of a gradient; a longer one is shortened to it.",
        OPTIMISATION,
        values="(0, 1e9]",
    )

    gamma: float = setting(0.99, "Discount of the next step's value.", TARGETS, values="[0, 1]")
    tau: float = setting(
        0.005,
        "How far the target networks move towards the online ones at each update.",
        TARGETS,
        values="(0, 1]",
    )
    n_step: int = setting(
        1,
        "Rewards summed before the value is bootstrapped (D4PG has 5).",
        TARGETS,
        values="[1, 1000]",
        aliases="n-steps",
    )
    delay: int = setting(
        1,
        "Critic steps for each step of the actor and the targets (TD3 has 2).",
        TARGETS,
        values="[1, 64]",
        aliases="policy-delay policy-frequency",
    )
    smoothing: float | None = setting(
        None,
        "Noise on the target's action, in units of half the action range (TD3 has 0.2).",
        TARGETS,
        values="(0, 10]",
        aliases="target-policy-noise policy-noise",
    )
    smoothing_clip: float = setting(
        0.5,
        "Where the noise of --smoothing is clipped.",
        TARGETS,
        values="(0, 10]",
        aliases="target-noise-clip noise-clip",
    )
    reward_scale: float | None = setting(
        None,
        "Factor on every reward in the updates; reported returns are unscaled.",
        TARGETS,
        values="(0, 1e9]",
    )

    capacity: int = setting(
        1_000_000,
        "Transitions that replay holds before it overwrites the oldest.",
        REPLAY,
        values=STEPS,
        aliases="buffer-size",
    )
    warmup: int = setting(
        1_000, "Environment steps before learning starts.", REPLAY, values=STEPS, aliases="learning-starts"
    )
    priority: float | None = setting(
        None,
        "Sample transitions in proportion to their loss to this power "
        "(0.6 in prioritised replay), instead of uniformly.",
        REPLAY,
        values="(0, 1]",
    )
    priority_beta: float = setting(
        0.4, "How far importance weights correct for --priority: 1 is fully.", REPLAY, values="[0, 1]"
    )
    hindsight: Strategy | None = setting(
        None,
        "For environments with achieved and desired goals: store each transition again, with goals that were "
        "achieved later in its episode (future), as hindsight experience replay does.",
        REPLAY,
    )
    relabel: int = setting(
        4,
        "Rows that --hindsight adds for each transition, each with its own goal; they count in --capacity.",
        REPLAY,
        values="[1, 64]",
        aliases="n-sampled-goal",
    )

    demos: str | None = setting(
        None,
        "Demonstrations, put into replay before the first step, where they count for --warmup: an npz file "
        "of obs, action, reward, terminated, truncated; a run's folder, for its replay; or minari:ID.",
        REPLAY,
    )
    demo_share: float | None = setting(
        None,
        "Draw this share of every minibatch from --demos, which are then kept for the whole run.",
        REPLAY,
        values="(0, 1]",
    )

    noise: Noise = setting(
        "gaussian",
        "Exploration: gaussian (independent at every step), ou (Ornstein-Uhlenbeck, drifting), "
        "pink (1/f, in between) or decay (the 2017 tutorial's).",
        EXPLORATION,
    )
    schedule_steps: int | None = setting(
        None,
        "Environment steps after which the lines of --sigma-end, --actor-lr-end and --critic-lr-end end; by "
        "default --steps. A run that is resumed with more --steps keeps the line that it had.",
        EXPLORATION,
        values=STEPS,
    )
    sigma: tuple[float, ...] = setting(
        (0.1,),
        "Strength of the exploration noise, in units of half the action range: "
        "one number, or one per action dimension. "
        "With ou the noise starts each episode at zero; its standard deviation grows to 1.8 times this.",
        EXPLORATION,
        aliases="exploration-noise",
    )
    sigma_end: float | None = setting(
        None, "Change --sigma linearly to this by the end of the run.", EXPLORATION, values="[0, 10]"
    )
    ou_theta: float = setting(
        0.15, "How fast the noise ou returns to zero, per unit of time.", EXPLORATION, values="(0, 1000]"
    )
    ou_dt: float = setting(
        1.0,
        "Time of a step of the noise ou: 1 in the DDPG paper, 0.01 in Stable-Baselines3.",
        EXPLORATION,
        values="(0, 1000]",
    )
    uniform: bool = setting(
        True,
        "Act uniformly at random in the warm-up, instead of with the untrained policy and its noise.",
        EXPLORATION,
    )

    critics: int = setting(
        1, "Critics; with more than one the smallest target is used (TD3 has 2).", CRITICS, values="[1, 64]"
    )
    dropout: float | None = setting(
        None,
        "Probability that a critic's hidden unit is left out in an update; "
        "with --layer-norm as in DroQ (arXiv 2110.02034: 0.01 with 20 --updates).",
        CRITICS,
        values="(0, 0.9]",
    )
    batch_norm: bool = setting(
        False,
        "Batch norm in the critics, in place of their layer norm, and no target networks: --tau is unused "
        "(CrossQ, arXiv 1902.05605v4).",
        CRITICS,
    )
    atoms: int | None = setting(
        None,
        "Values over which the critic predicts a distribution of the return (D4PG has 51); "
        "needs --value-low and --value-high.",
        CRITICS,
        values="[2, 10000]",
    )
    value_low: float | None = setting(
        None,
        "The smallest atom; no discounted return should lie below it. The critic starts at the middle "
        "of the range, which should be zero: below the first policy's return, actions may stick to a bound.",
        CRITICS,
        values="[-1e9, 1e9]",
    )
    value_high: float | None = setting(None, "The largest atom.", CRITICS, values="[-1e9, 1e9]")

    eval_env: EvalEnv = setting(
        "copies",
        "Evaluate on copies of the environment, on the same one between episodes of training, or not at all "
        "(none): for a robot or a simulator of which only one may exist.",
        EVALUATION,
    )
    eval_every: int = setting(
        5_000, "Environment steps between greedy evaluations.", EVALUATION, values=STEPS, aliases="eval-freq"
    )
    eval_episodes: int = setting(
        10,
        "Episodes of each evaluation while training.",
        EVALUATION,
        values="[1, 100000]",
        aliases="n-eval-episodes",
    )
    final_episodes: int = setting(
        100, "Episodes of the closing evaluation.", EVALUATION, values="[1, 100000]"
    )
    within: float | None = setting(
        None,
        "Add episodes to the closing evaluation until its 95 % interval "
        "reaches at most this far from the mean.",
        EVALUATION,
        values="(0, 1e9]",
    )
    guard_collapse: bool = setting(
        False,
        "Restore the weights of the best evaluation whenever a later one is significantly worse.",
        EVALUATION,
    )
    stop_return: float | None = setting(
        None,
        "Stop as soon as an evaluation's mean return is at least this.",
        EVALUATION,
        values="[-1e9, 1e9]",
    )
    patience: int | None = setting(
        None,
        "Stop after this many evaluations in a row that are not better than the best one.",
        EVALUATION,
        values="[1, 100000]",
    )

    save_every: int | None = setting(
        None,
        "Environment steps between checkpoints; by default one after each evaluation.",
        CHECKPOINTS,
        values=STEPS,
    )
    keep: int = setting(
        3,
        "How many of the newest checkpoints are kept, besides the best one.",
        CHECKPOINTS,
        values="[1, 1000000]",
    )
    keep_every: int | None = setting(
        None, "Also keep every checkpoint whose step is a multiple of this.", CHECKPOINTS, values=STEPS
    )

    devices: int = setting(
        1,
        "Devices that share the environments, replay and minibatches of one run, for environments in JAX; "
        "--envs and --batch must be multiples of it.",
        HARDWARE,
        values="[1, 4096]",
    )
    threads: int = setting(
        2,
        "CPU threads of XLA; a setting, because their number decides the bits of a result.",
        HARDWARE,
        values="[1, 1024]",
    )
    precision: Precision | None = setting(
        None,
        "Precision of the update's matrix products, on a GPU only; "
        "by default JAX's own choice there (tensorfloat32 on an H100).",
        HARDWARE,
    )


FIELDS = fields(Config)


def check(config: Config) -> Config:
    """The same config if every value is usable, else an InputError for the first that is not."""
    check_ranges(config)
    for name in ("hidden", "actor_hidden", "critic_hidden"):
        check_widths(FIELDS[name].flag, getattr(config, name))
    if not config.sigma or not all(0 < s <= 10 for s in config.sigma):
        raise InputError(
            f"--sigma {' '.join(map(str, config.sigma))}: expected numbers above 0 up to 10, "
            "for example --sigma 0.1"
        )
    check_networks(config)
    if config.warmup >= config.steps:
        raise InputError(
            f"--warmup {config.warmup}: learning would start after the end (--steps {config.steps}); "
            "lower one or raise the other"
        )
    if config.atoms is not None and None in (config.value_low, config.value_high):
        raise InputError(
            f"--atoms {config.atoms}: over which values? "
            "Give --value-low and --value-high, the range of the discounted return"
        )
    if (
        config.value_low is not None
        and config.value_high is not None
        and config.value_low >= config.value_high
    ):
        raise InputError(
            f"--value-low {config.value_low}: not below --value-high {config.value_high}; widen the range"
        )
    if config.history is not None:
        check_history(config)
    if config.n_step * config.envs > config.warmup:
        raise InputError(
            f"--n-step {config.n_step}: too few steps are stored when learning starts; "
            f"raise --warmup to {config.n_step * config.envs}"
        )
    if config.n_step * config.envs > config.capacity:
        raise InputError(
            f"--n-step {config.n_step}: longer than replay holds (--capacity {config.capacity}); raise it"
        )
    check_cluster(config)
    if config.block > 1:
        check_block(config)
    for name in ("envs", "batch"):
        if getattr(config, name) % config.devices:
            raise InputError(
                f"--devices {config.devices}: they cannot share {getattr(config, name)} evenly (--{name}); "
                f"make it a multiple of {config.devices}"
            )
    demos_drawn(config)
    check_environment(config)
    if config.capacity < config.batch:
        raise InputError(
            f"--capacity {config.capacity}: smaller than a minibatch (--batch {config.batch}); raise it"
        )
    return config


def check_networks(config: Config) -> None:
    """InputError where the settings of the networks do not go together."""
    flag, critic = "--critic-hidden" if config.critic_hidden else "--hidden", critic_widths(config)
    if config.action_layer > len(critic):
        raise InputError(
            f"--action-layer {config.action_layer}: there are {len(critic)} hidden layers ({flag}); "
            f"use 1 to {len(critic)}"
        )
    for name in ("residual", "dropout", "batch_norm"):
        if config.networks is not None and getattr(config, name):
            raise InputError(
                f"{FIELDS[name].flag}: a part of swingup's own networks; leave it or --networks out"
            )
    for flag, widths in (("actor", actor_widths(config)), ("critic", critic)):
        if config.residual and len(set(widths)) > 1:
            raise InputError(
                f"--residual: a block adds to its input, so the widths {list(widths)} of the {flag} must be "
                f"equal, for example --{flag}-hidden {widths[0]} {widths[0]}"
            )


def check_cluster(config: Config) -> None:
    """InputError where the settings of workers on a cluster do not go together."""
    if config.on is not None and config.hindsight is not None:
        raise InputError(f"--on {config.on}: its workers relabel nothing; leave --hindsight out, or --on")
    if config.on is not None and config.history is not None:
        raise InputError(f"--on {config.on}: its workers have no past; leave --history out, or --on")
    if config.order == "free" and config.on is None:
        raise InputError("--order free: of which workers? Add --on ray and --workers")
    if config.on is not None and config.workers is None:
        raise InputError(
            f"--on {config.on}: how many workers? Add --workers, for example --workers 4 --envs 4"
        )
    if config.on is not None and config.workers is not None and config.workers > config.envs:
        raise InputError(
            f"--workers {config.workers}: more than environments (--envs {config.envs}); "
            f"give --envs {config.workers} or more, or fewer workers"
        )


def demos_drawn(config: Config) -> int | None:
    """How many transitions of a minibatch are demonstrations by --demo-share; None without it."""
    if config.demo_share is None:
        return None
    if config.demos is None:
        raise InputError(f"--demo-share {config.demo_share}: of which demonstrations? Give --demos, too")
    drawn = round(config.demo_share * config.batch)
    if not 0 < drawn < config.batch or (config.batch - drawn) % config.devices:
        raise InputError(
            f"--demo-share {config.demo_share}: {drawn} of a minibatch of {config.batch} (--batch); "
            f"it must leave some for replay, in a multiple of --devices {config.devices}, for example 0.5"
        )
    return drawn


def check_environment(config: Config) -> None:
    """InputError if the settings of the environment do not go together."""
    for name in ("action_low", "action_high"):
        if not all(math.isfinite(x) for x in getattr(config, name) or ()):
            raise InputError(f"{FIELDS[name].flag}: expected finite numbers")
    for wrapper in config.wrapper:
        if not re.fullmatch(r"[\w.]+:\w+", wrapper):
            raise InputError(
                f"--wrapper {wrapper}: expected module:function or module:Class, for example "
                "gymnasium.wrappers:FlattenObservation"
            )
    if config.eval_env != "copies" and config.eval_env_kwargs:
        what = "there are no environments of their own to evaluate on"
        raise InputError(f"--eval-env-kwargs: {what} (--eval-env {config.eval_env}); leave it out")
    if config.eval_env == "same" and config.envs > 1:
        raise InputError(f"--eval-env same: it is for one environment, and there are --envs {config.envs}")
    if config.eval_env != "copies" and config.on is not None:
        raise InputError(
            f"--eval-env {config.eval_env}: with --on evaluations have copies here; leave it out"
        )
    if config.eval_env == "none" and (config.guard_collapse or config.within is not None):
        flag = "--guard-collapse" if config.guard_collapse else "--within"
        raise InputError(f"{flag}: it needs evaluations, and there are none (--eval-env none)")


def check_widths(flag: str, widths: tuple[int, ...] | None) -> None:
    """InputError if these cannot be the widths of a network's hidden layers (None: those of --hidden)."""
    if widths is not None and (not widths or min(widths) < 1 or max(widths) > 2**16):
        raise InputError(
            f"{flag} {list(widths)}: expected one or more widths from 1 to 65,536, for example {flag} 256 256"
        )


# Settings that name objects of the user's own, as module:Name.
NAMED = ("callback", "networks")


def named_objects(config: Config) -> list[tuple[str, str]]:
    """Each (setting, module:Name) that the settings hold."""
    words = [(name, word.strip()) for name in NAMED for word in (getattr(config, name) or "").split(",")]
    return [(name, word) for name, word in words if word]


def actor_widths(config: Config) -> tuple[int, ...]:
    """The widths of the actor's hidden layers."""
    return config.actor_hidden or config.hidden


def critic_widths(config: Config) -> tuple[int, ...]:
    """The widths of the critic's hidden layers."""
    return config.critic_hidden or config.hidden


def check_history(config: Config) -> None:
    """InputError where a history does not fit the other settings."""
    length = config.history or 1
    if config.hindsight is not None:
        raise InputError(
            f"--history {length}: with --hindsight a relabelled step has no relabelled past; leave one out"
        )
    need = (config.n_step + length - 1) * config.envs
    for name in ("warmup", "capacity"):
        if need > getattr(config, name):
            raise InputError(
                f"--history {length}: too few steps are stored (--{name} {getattr(config, name)}); "
                f"raise it to {need}"
            )


def check_block(config: Config) -> None:
    """InputError where a block of time steps is longer than the run or than replay."""
    rows = config.block * config.envs
    if rows > config.steps:
        raise InputError(
            f"--block {config.block}: longer than the run (--steps {config.steps}, --envs {config.envs}); "
            f"lower it to at most {max(config.steps // config.envs, 1)}"
        )
    need = rows + (config.n_step + (config.history or 1) - 2) * config.envs
    if need > config.capacity:
        raise InputError(
            f"--block {config.block}: replay holds fewer steps (--capacity {config.capacity}); "
            f"raise that to {need}"
        )


def apply(config: Config, values: dict[str, Any], where: str) -> Config:
    """`config` with the given values, each as its field's type; InputError for a name without a setting."""
    for name in values:
        if name not in FIELDS:
            raise InputError(
                f"{where}: there is no setting {name!r}"
                f"{nearest(name, FIELDS) or '; see swingup train --help'}"
            )
    owners = [(owner(FIELDS, name, value), value) for name, value in values.items()]
    typed = {field.name: from_value(field, value, where) for field, value in owners}
    return dataclasses.replace(config, **typed)
