"""Arguments of Stable-Baselines3's DDPG and TD3 as settings of swingup. Needs neither of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from swingup.config.fields import aliases
from swingup.config.settings import FIELDS, Config
from swingup.errors import InputError, nearest

# The networks of net_arch, and the settings of their widths.
SHAPES = {"pi": "actor_hidden", "qf": "critic_hidden"}

# Arguments that change nothing that is learnt; the model uses some of them.
SHOWING = ("verbose", "tensorboard_log", "stats_window_size", "_init_setup_model")

# Arguments that together say how many updates there are.
RATIO = ("train_freq", "gradient_steps")

# What each may be, by name, because it does what happens here anyway; and our words for what it may not be.
CLASSES = {
    "policy": ("MlpPolicy", "MultiInputPolicy", "TD3Policy"),
    "replay_buffer_class": ("ReplayBuffer", "DictReplayBuffer"),
    "features_extractor_class": ("FlattenExtractor", "CombinedExtractor"),
    "optimizer_class": ("Adam",),
}
WORDS = {
    "policy": "images and recurrent networks are not supported; give MlpPolicy and a vector of numbers",
    "replay_buffer_class": "priority=0.6 is prioritised replay, n_step=5 sums rewards over steps",
    "features_extractor_class": "observations are flattened; put other features into a gymnasium.Wrapper",
    "optimizer_class": "the optimiser is Adam; weight_decay=1e-2 is L2 on the critic, grad_clip=1.0 clips",
}


def settings_of(arguments: Mapping[str, Any], who: str, envs: int = 1) -> dict[str, Any]:
    """Settings by our names, from arguments by our names or by Stable-Baselines3's.

    who: the class, for messages; envs: how many environments step together. InputError, with our word for it,
    for an argument whose effect does not exist here.
    """
    theirs = {alias.replace("-", "_"): names for alias, names in aliases(Config).items()}
    ours: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in ARGUMENTS:
            ours |= ARGUMENTS[name](value, f"{who}: {name}={brief(value)}")
        elif name in (*SHOWING, *RATIO):
            continue
        elif name in FIELDS or name in theirs:
            ours |= dict.fromkeys(theirs.get(name, (name,)), value)
        else:
            known = [*FIELDS, *theirs, *ARGUMENTS, *SHOWING, *RATIO]
            raise InputError(
                f"{who}: there is no setting {name!r}{nearest(name, known) or '; see swingup train --help'}"
            )
    envs = ours.get("envs", envs)
    if "learning_starts" in arguments:  # theirs may be 0; here replay must hold what is drawn first
        starts = whole(arguments["learning_starts"], f"{who}: learning_starts")
        ours["warmup"] = max(starts, ours.get("n_step", 1) * envs)
    return ours | update_ratio(arguments, who, envs)


def update_ratio(arguments: Mapping[str, Any], who: str, envs: int) -> dict[str, Any]:
    """`block` and `updates` from train_freq and gradient_steps, which count steps of all environments."""
    if arguments.keys().isdisjoint(RATIO):
        return {}
    count, unit = frequency(arguments.get("train_freq", 1), f"{who}: train_freq")
    steps = whole(arguments.get("gradient_steps", 1), f"{who}: gradient_steps")
    if steps == 0:
        raise InputError(f"{who}: gradient_steps=0: nothing would be learnt; give 1 or more, or -1")
    block = {"block": count} if unit == "step" and "train_freq" in arguments else {}
    if steps < 0:  # one for each transition that was collected
        return block | {"updates": 1.0}
    if unit == "episode":
        raise InputError(
            f"{who}: gradient_steps={steps} after train_freq={count} episodes: updates follow environment "
            "steps here; give gradient_steps=-1 (one for each step), or updates=0.5 (one for two)"
        )
    return block | {"updates": steps / (count * envs)}


def frequency(value: Any, where: str) -> tuple[int, str]:
    """The number and the unit, "step" or "episode", of a train_freq: a number alone counts steps."""
    count, unit = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, "step")
    unit = getattr(unit, "value", unit)  # theirs may be an enumeration
    count = whole(count, where)
    if unit not in ("step", "episode") or count < 1:
        raise InputError(f'{where}={brief(value)}: expected a number of steps, or (1, "episode")')
    return count, unit


def action_noise(noise: Any, where: str) -> dict[str, Any]:
    """Settings of the exploration noise from what an action noise holds: mean, sigma, theta and dt.

    None: the preset's noise. Both units are half of the action range.
    """
    if noise is None:
        return {}
    # One that is copied for each environment holds the original, or the copies.
    if (base := held(noise, "base_noise") or next(iter(held(noise, "noises") or ()), None)) is not None:
        return action_noise(base, where)
    if held(noise, "sigma") is None:
        raise InputError(
            f"{where}: it holds no sigma; noise is 'gaussian', 'ou' or 'pink' here, with sigma=0.1"
        )
    for name in ("mu", "mean", "initial_noise"):
        if any(numbers(held(noise, name), where)):
            raise InputError(f"{where}: its {name} is not zero; exploration has mean zero here, use zeros")
    sigma = numbers(held(noise, "sigma"), where)
    found: dict[str, Any] = {"sigma": sigma[:1] if len(set(sigma)) == 1 else sigma, "noise": "gaussian"}
    if held(noise, "theta") is not None:
        theta, dt = held(noise, "theta"), held(noise, "dt")
        found |= {"noise": "ou", "ou_theta": float(theta), "ou_dt": 0.01 if dt is None else float(dt)}
    if (end := held(noise, "final_sigma")) is not None:  # RL Zoo's, which falls along a line
        found |= {"sigma_end": max(numbers(end, where)), "schedule_steps": int(held(noise, "max_steps"))}
    return found


def held(holder: Any, name: str) -> Any:
    """An attribute of this name, or with an underscore in front as theirs have; None if there is none."""
    return getattr(holder, f"_{name}", getattr(holder, name, None))


def learning_rate(rate: Any, where: str) -> dict[str, Any]:
    """Both step sizes: a number, or a function of the share of training that is left, if it is a line."""
    if not callable(rate):
        return dict.fromkeys(("actor_lr", "critic_lr"), rate)
    start, end, middle = (float(rate(left)) for left in (1.0, 0.0, 0.5))
    if abs(middle - (start + end) / 2) > 1e-6 * max(abs(start), abs(end)):
        raise InputError(
            f"{where}: not a straight line; here a step size falls from actor_lr to actor_lr_end"
        )
    ends = {} if start == end else dict.fromkeys(("actor_lr_end", "critic_lr_end"), end)
    return dict.fromkeys(("actor_lr", "critic_lr"), start) | ends


def policy_kwargs(given: Any, where: str) -> dict[str, Any]:
    """Settings of the networks: net_arch, activation_fn, n_critics and what is always so here."""
    ours: dict[str, Any] = {}
    for name, value in (given or {}).items():
        if name not in NETWORKS:
            raise InputError(f"{where}: {name} has no meaning here; {', '.join(NETWORKS)} do")
        ours |= NETWORKS[name](value, f"{where.partition(':')[0]}: {name}={brief(value)}")
    return ours


def net_arch(shape: Any, where: str) -> dict[str, Any]:
    """The widths of the hidden layers: a list, or those of actor and critic as dict(pi=, qf=)."""
    if isinstance(shape, Mapping):
        if set(shape) - set(SHAPES):
            raise InputError(f"{where}: expected dict(pi=[...], qf=[...]) or one list for both")
        return {ours: tuple(shape[name]) for name, ours in SHAPES.items() if name in shape}
    if not isinstance(shape, (list, tuple)) or not shape:
        raise InputError(f"{where}: expected one or more widths, for example net_arch=[256, 256]")
    return {"hidden": tuple(shape)}


def activation(function: Any, where: str) -> dict[str, Any]:
    """The function between layers, a class of PyTorch's or its name."""
    return {"activation": class_name(function).lower()}


def optimizer_kwargs(given: Any, where: str) -> dict[str, Any]:
    """Nothing but Adam's own defaults can be taken over."""
    odd = {k: v for k, v in (given or {}).items() if v != {"eps": 1e-8, "betas": (0.9, 0.999)}.get(k)}
    if odd:
        raise InputError(f"{where}: Adam has its defaults here; weight_decay=1e-2 is L2 on the critic")
    return {}


def replay_buffer_kwargs(given: Any, where: str) -> dict[str, Any]:
    """Time limits are never ends here, as handle_timeout_termination=True says."""
    if {k: v for k, v in (given or {}).items() if (k, v) != ("handle_timeout_termination", True)}:
        raise InputError(f"{where}: replay is a ring of capacity transitions; time limits are never ends")
    return {}


def seed(value: Any, where: str) -> dict[str, Any]:
    """None: a seed that is drawn now, and can be read in the model's config."""
    drawn = int(np.random.SeedSequence().generate_state(1)[0])
    return {"seed": drawn if value is None else value}


def device(value: Any, where: str) -> dict[str, Any]:
    """JAX computes on the device that it finds, which is what auto and cuda ask for."""
    name = str(value).partition(":")[0]
    if name not in ("auto", "cpu", "cuda", "gpu"):
        raise InputError(
            f"{where}: JAX chooses the device; the variable JAX_PLATFORMS names one, for example cpu"
        )
    return {}


def smoothing(value: Any, where: str) -> dict[str, Any]:
    """Noise on the target's action; none where it is zero."""
    return {"smoothing": None if value == 0 else value}


def of_class(name: str) -> Callable[[Any, str], dict[str, Any]]:
    """Accepts the classes of an argument that do what happens here anyway."""

    def accept(value: Any, where: str) -> dict[str, Any]:
        if value is not None and class_name(value) not in CLASSES[name]:
            raise InputError(f"{where}: {WORDS[name]}")
        return {}

    return accept


def ignore(value: Any, where: str) -> dict[str, Any]:
    """Accepts an argument that changes nothing here."""
    return {}


NETWORKS: dict[str, Callable[[Any, str], dict[str, Any]]] = {
    "net_arch": net_arch,
    "activation_fn": activation,
    "n_critics": lambda value, where: {"critics": value},
    "features_extractor_class": of_class("features_extractor_class"),
    "optimizer_class": of_class("optimizer_class"),
    "optimizer_kwargs": optimizer_kwargs,
    "share_features_extractor": ignore,
    "normalize_images": ignore,
}

ARGUMENTS: dict[str, Callable[[Any, str], dict[str, Any]]] = {
    "policy": of_class("policy"),
    "policy_kwargs": policy_kwargs,
    "action_noise": action_noise,
    "learning_rate": learning_rate,
    "target_policy_noise": smoothing,
    "replay_buffer_class": of_class("replay_buffer_class"),
    "replay_buffer_kwargs": replay_buffer_kwargs,
    "optimize_memory_usage": ignore,
    "seed": seed,
    "device": device,
}


def class_name(value: Any) -> str:
    """The name of a class, or of what a text names: torch.nn.ReLU and "nn.ReLU" are ReLU."""
    return (
        value.rpartition(".")[2]
        if isinstance(value, str)
        else getattr(value, "__name__", type(value).__name__)
    )


def whole(value: Any, where: str) -> int:
    """A whole number; InputError for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or int(value) != value:
        raise InputError(f"{where}={brief(value)}: expected a whole number")
    return int(value)


def numbers(value: Any, where: str) -> tuple[float, ...]:
    """The numbers of an array, a list or a number; none for None."""
    try:
        return tuple(float(x) for x in np.asarray([] if value is None else value, np.float64).reshape(-1))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected numbers in it ({error})") from error


def brief(value: Any) -> str:
    """A value in a message: its class where it is an object, and no more than a few words."""
    plain = isinstance(value, (str, int, float, list, tuple, dict, type(None), np.ndarray, np.number))
    text = " ".join((repr(value) if plain else class_name(value)).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
