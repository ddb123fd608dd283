"""Every setting of a run in one frozen dataclass; presets are TOML files beside this module. Needs no JAX.

Precedence: the defaults here < the preset < `--config FILE` < flags. Nothing writes to a Config after it is made.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_type_hints

import numpy as np
import tyro

from swingup.errors import InputError, nearest
from swingup.types import Precision

Noise = Literal["gaussian", "ou", "pink", "decay"]
Weights = Literal["paper", "tflearn"]


@dataclass(frozen=True)
class Config:
    """The settings of one training run."""

    env: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV")] = ""
    """Environment: a Gymnasium id, or module:Id to import the module that registers it."""

    preset: str = "auto"
    """Named settings to start from (`swingup presets`); auto picks the one made for this environment, else ddpg."""

    seed: int = 0
    """The one number behind every random choice: same seed and settings, same bytes."""

    steps: int = 100_000
    """Environment steps to train for, summed over the environments."""

    episodes: int | None = None
    """Stop after this many training episodes, if `steps` are not over before."""

    episode_steps: int | None = None
    """Cut episodes (truncate, not terminate) after this many steps, for environments without a time limit of their own."""

    envs: int = 1
    """Environments stepped in lockstep; every environment step is followed by `updates` gradient steps, whatever this is."""

    workers: int | None = None
    """Processes that step the environments; a hanging, raising or killed one is restarted and its episode played again."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of actor and critic."""

    action_layer: int = 1
    """The critic's hidden layer where the action joins: 1 as in TD3, 2 as in the DDPG paper."""

    weights: Weights = "paper"
    """How weights begin: paper (uniform by fan-in, last layers within 3e-3) or tflearn (as in the 2017 tutorial)."""

    actor_lr: float = 1e-3
    """Adam's step size for the actor."""

    critic_lr: float = 1e-3
    """Adam's step size for the critic."""

    gamma: float = 0.99
    """Discount of the next step's value."""

    tau: float = 0.005
    """How far the target networks move towards the online ones at each update."""

    batch: int = 256
    """Transitions in a minibatch."""

    updates: float = 1.0
    """Gradient steps for each environment step; below one (0.01: one for a hundred) where many environments share them."""

    capacity: int = 1_000_000
    """Transitions that replay holds before it overwrites the oldest."""

    warmup: int = 1_000
    """Environment steps before learning starts."""

    uniform: bool = True
    """Act uniformly at random in the warm-up, instead of with the untrained policy and its noise."""

    noise: Noise = "gaussian"
    """Exploration: gaussian (independent at every step), ou (Ornstein-Uhlenbeck, drifting), pink (1/f, in between) or decay
    (the 2017 tutorial's)."""

    sigma: tuple[float, ...] = (0.1,)
    """Strength of the exploration noise, in units of half the action range: one number, or one per action dimension."""

    sigma_end: float | None = None
    """Let that strength go linearly to this by the end of the run."""

    critics: int = 1
    """Critics; with more than one the smallest target counts (TD3 has 2)."""

    delay: int = 1
    """Critic steps for each step of the actor and the targets (TD3 has 2)."""

    smoothing: float | None = None
    """Noise on the target's action, in units of half the action range (TD3 has 0.2)."""

    smoothing_clip: float = 0.5
    """Where that noise is cut."""

    n_step: int = 1
    """Rewards summed before the value is bootstrapped (D4PG has 5)."""

    atoms: int | None = None
    """Values over which the critic predicts a distribution of the return (D4PG has 51); needs value_low and value_high."""

    value_low: float | None = None
    """The smallest of those values: no discounted return should lie below it. The critic begins at the middle of the range: leave that at
    zero, as where it begins below what a first policy gets, the actor may flee to a bound for good."""

    value_high: float | None = None
    """The largest of those values."""

    priority: float | None = None
    """Draw transitions in proportion to their loss to this power (0.6 in prioritised replay), instead of evenly."""

    priority_beta: float = 0.4
    """How far importance weights correct for that: 1 is fully."""

    normalize: bool = False
    """Normalise observations by their running mean and variance; the statistics are frozen at evaluation and ship with the policy."""

    reward_scale: float | None = None
    """Factor on every reward that is learnt from; reported returns are unscaled."""

    layer_norm: bool = False
    """Layer norm before each hidden ReLU of actor and critic."""

    weight_decay: float | None = None
    """L2 on the critic's weights, added to its gradient (the DDPG paper has 1e-2)."""

    grad_clip: float | None = None
    """Largest global norm of a gradient; a longer one is shortened to it."""

    precision: Precision | None = None
    """Of the factors in the update's matrix products, on a GPU only; by default JAX's own choice there (tensorfloat32 on an H100)."""

    actor_lr_end: float | None = None
    """Let the actor's step size fall linearly to this by the end of the run."""

    critic_lr_end: float | None = None
    """Let the critic's step size fall linearly to this by the end of the run."""

    eval_every: int = 5_000
    """Environment steps between greedy evaluations."""

    save_every: int | None = None
    """Environment steps between checkpoints; by default one after each evaluation."""

    keep: int = 3
    """The newest checkpoints that are kept, besides the best one."""

    keep_every: int | None = None
    """Keep every checkpoint whose step is a multiple of this, too."""

    eval_episodes: int = 10
    """Episodes of each evaluation while training."""

    final_episodes: int = 100
    """Episodes of the evaluation that closes the run."""

    within: float | None = None
    """Add episodes to that evaluation until its 95 % interval reaches at most this far from the mean."""

    guard_collapse: bool = False
    """Go back to the weights of the best evaluation whenever a later one is significantly worse."""

    episode_lines: bool = False
    """Print a line for each episode (reward, number, Qmax), as the 2017 tutorial does, instead of the bar."""

    devices: int = 1
    """Devices that share the environments, replay and minibatches of one run, for environments in JAX; they divide envs and batch."""

    threads: int = 2
    """CPU threads of XLA; pinned, because their number decides the bits of a result."""


# What each number must satisfy: (smallest, largest, whether the smallest itself is allowed).
RANGES: dict[str, tuple[float, float, bool]] = {
    "seed": (0, 2**32 - 1, True),
    "steps": (1, 2**31 - 1, True),
    "episodes": (1, 2**31 - 1, True),
    "episode_steps": (1, 2**31 - 1, True),
    "envs": (1, 4096, True),
    "workers": (1, 1024, True),
    "action_layer": (1, 64, True),
    "actor_lr": (0, 1, False),
    "critic_lr": (0, 1, False),
    "gamma": (0, 1, True),
    "tau": (0, 1, False),
    "batch": (1, 2**20, True),
    "updates": (0, 1024, False),
    "critics": (1, 64, True),
    "delay": (1, 64, True),
    "smoothing": (0, 10, False),
    "smoothing_clip": (0, 10, False),
    "n_step": (1, 1000, True),
    "atoms": (2, 10_000, True),
    "value_low": (-1e9, 1e9, True),
    "value_high": (-1e9, 1e9, True),
    "priority": (0, 1, False),
    "priority_beta": (0, 1, True),
    "reward_scale": (0, 1e9, False),
    "weight_decay": (0, 1, False),
    "grad_clip": (0, 1e9, False),
    "actor_lr_end": (0, 1, True),
    "critic_lr_end": (0, 1, True),
    "capacity": (1, 2**31 - 1, True),
    "warmup": (1, 2**31 - 1, True),
    "sigma_end": (0, 10, True),
    "within": (0, 1e9, False),
    "save_every": (1, 2**31 - 1, True),
    "keep": (1, 1_000_000, True),
    "keep_every": (1, 2**31 - 1, True),
    "eval_every": (1, 2**31 - 1, True),
    "eval_episodes": (1, 100_000, True),
    "final_episodes": (1, 100_000, True),
    "devices": (1, 4096, True),
    "threads": (1, 1024, True),
}

CHOICES = {"noise": get_args(Noise), "weights": get_args(Weights), "precision": get_args(Precision)}

FIELDS = {f.name: f for f in dataclasses.fields(Config)}
TYPES = get_type_hints(Config)


def check(config: Config) -> Config:
    """The same config if every value is usable, else an InputError naming the first that is not."""
    for name, (low, high, closed) in RANGES.items():
        value = getattr(config, name)
        if value is None:
            continue
        ok = math.isfinite(value) and (low <= value if closed else low < value) and value <= high
        if not ok:
            raise InputError(
                f"{flag(name)} {value}: expected a number {'from' if closed else 'above'} {low:,.12g} {'to' if closed else 'up to'} {high:,.12g}"
            )
    if not config.hidden or min(config.hidden) < 1 or max(config.hidden) > 2**16:
        raise InputError(
            f"--hidden {list(config.hidden)}: expected one or more widths from 1 to 65,536, for example --hidden 256 256"
        )
    if not config.sigma or not all(0 < s <= 10 for s in config.sigma):
        raise InputError(f"--sigma {' '.join(map(str, config.sigma))}: expected numbers above 0 up to 10, for example --sigma 0.1")
    if config.action_layer > len(config.hidden):
        raise InputError(
            f"--action-layer {config.action_layer}: there are {len(config.hidden)} hidden layers (--hidden); use 1 to {len(config.hidden)}"
        )
    for name, words in CHOICES.items():
        if getattr(config, name) not in (*words, FIELDS[name].default):
            raise InputError(f"--{name} {getattr(config, name)}: expected {' or '.join(words)}")
    if config.warmup >= config.steps:
        raise InputError(
            f"--warmup {config.warmup}: learning would start after the end (--steps {config.steps}); lower one or raise the other"
        )
    if config.atoms is not None and None in (config.value_low, config.value_high):
        raise InputError(
            f"--atoms {config.atoms}: over which values? Give --value-low and --value-high, the range of the discounted return"
        )
    if config.value_low is not None and config.value_high is not None and config.value_low >= config.value_high:
        raise InputError(f"--value-low {config.value_low}: not below --value-high {config.value_high}; widen the range")
    if config.n_step * config.envs > config.warmup:
        raise InputError(
            f"--n-step {config.n_step}: no such stretch is stored when learning starts; raise --warmup to {config.n_step * config.envs}"
        )
    if config.n_step * config.envs > config.capacity:
        raise InputError(f"--n-step {config.n_step}: longer than replay holds (--capacity {config.capacity}); raise it")
    for name in ("envs", "batch"):
        if getattr(config, name) % config.devices:
            raise InputError(
                f"--devices {config.devices}: they cannot share {getattr(config, name)} evenly (--{name}); make it a multiple of {config.devices}"
            )
    if config.capacity < config.batch:
        raise InputError(f"--capacity {config.capacity}: smaller than a minibatch (--batch {config.batch}); raise it")
    return config


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def coerce(name: str, value: Any, where: str) -> Any:
    """A value read from TOML or JSON as its field's type, or an InputError."""
    if name not in FIELDS:
        raise InputError(f"{where}: there is no setting {name!r}{nearest(name, FIELDS) or '; see swingup train --help'}")
    if name == "hidden" and isinstance(value, (list, tuple)) and all(type(v) is int for v in value):
        return tuple(value)
    if name == "sigma":
        many = value if isinstance(value, (list, tuple)) else [value]
        if all(isinstance(v, numbers.Real) and not isinstance(v, (bool, np.bool_)) for v in many):
            return tuple(float(v) for v in many)
        raise InputError(f"{where}: {name} = {value!r} is not a number, or a list of one per action dimension")
    want = [t for t in get_args(TYPES[name]) if isinstance(t, type) and t is not NoneType] or [TYPES[name]]
    kind = str if name in CHOICES else list if name == "hidden" else want[0]
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)):
        if kind is float:
            return float(value)
        if kind is int and float(value).is_integer():
            return int(float(value))
    if (type(value) is kind and name != "hidden") or (value is None and FIELDS[name].default is None):
        return value
    words = {list: "list of whole numbers", int: "whole number", float: "number", bool: "true or false", str: "string"}
    raise InputError(f"{where}: {name} = {value!r} is not a {words[kind]}")


def apply(config: Config, values: dict[str, Any], where: str) -> Config:
    """`config` with the given values, each checked against its field's type."""
    return dataclasses.replace(config, **{k: coerce(k, v, where) for k, v in values.items()})
