"""Files of settings in YAML: RL Zoo's, with a section for each environment, or settings one a line."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swingup.config.settings import FIELDS
from swingup.config.stable_baselines import settings_of
from swingup.errors import InputError, nearest

# What Stable-Baselines3's DDPG and TD3 have where a section of the file says nothing.
DEFAULTS: dict[str, Any] = {
    "hidden": (400, 300),
    "learning_rate": 1e-3,
    "buffer_size": 1_000_000,
    "learning_starts": 100,
    "batch_size": 256,
    "tau": 0.005,
    "gamma": 0.99,
}

NOISES: dict[Any, dict[str, Any]] = {
    None: {},
    "none": {},
    "normal": {"noise": "gaussian"},
    "ornstein-uhlenbeck": {"noise": "ou", "ou_theta": 0.15, "ou_dt": 0.01},
}

ALGORITHMS = ("ddpg", "td3")


def read_yaml(path: Path, text: str, env: str) -> dict[str, Any]:
    """The settings in a YAML file; of RL Zoo's, those of `env`, or of its only environment.

    A file whose name begins with ddpg or td3 is that algorithm's, as there. InputError if it cannot be used.
    """
    where = f"--config {path}"
    try:
        import yaml

        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(f"{where}: expected a section for each environment, or settings, one a line")
    if not any(isinstance(value, dict) and name not in FIELDS for name, value in found.items()):
        return {name: number(value) for name, value in found.items()}
    name = section(found, env, where)
    algorithm = path.stem.lower().partition("_")[0].partition("-")[0]
    preset = {"preset": algorithm, "env_preset": "none"} if algorithm in ALGORITHMS else {}
    return {"env": name, **preset, **zoo_settings(found[name], f"{where}, {name}")}


def section(found: Mapping[str, Any], env: str, where: str) -> str:
    """The name of the section for an environment."""
    named = [name for name, value in found.items() if isinstance(value, dict) and name != "default"]
    if env in named:
        return env
    if not env and len(named) == 1:
        return named[0]
    listed = ", ".join(named[:8]) + (", ..." if len(named) > 8 else "")
    if not env:
        raise InputError(f"{where}: settings of which environment? Name one of {listed}")
    raise InputError(f"{where}: no section {env}{nearest(env, named) or f'; it has {listed}'}")


def zoo_settings(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings by our names from a section of RL Zoo's, completed by Stable-Baselines3's defaults."""
    given = {name: number(value) for name, value in values.items()}
    found: dict[str, Any] = {}
    kind = given.pop("noise_type", None)
    if kind not in NOISES:
        raise InputError(f"{where}: noise_type {kind}: noise is gaussian, ou or pink here")
    found |= NOISES[kind]
    for theirs, ours in (("noise_std", "sigma"), ("noise_std_final", "sigma_end")):
        if theirs in given:
            found[ours] = given.pop(theirs)
    found |= normalize(given.pop("normalize", False), where)
    for name in ("train_freq", "policy_kwargs"):
        if isinstance(given.get(name), str):
            given[name] = evaluated(given[name], f"{where}: {name}")
    rate = given.get("learning_rate")
    if isinstance(rate, str) and rate.startswith("lin_"):  # falls to zero along a line
        start = float(number(rate[4:]))
        given["learning_rate"] = lambda left: left * start
    return found | {k: v for k, v in settings_of(DEFAULTS | given, where).items() if k not in found}


def normalize(given: Any, where: str) -> dict[str, Any]:
    """The setting `normalize` from RL Zoo's, which normalises rewards too unless it says otherwise."""
    if isinstance(given, str):
        given = evaluated(given, f"{where}: normalize")
    if not given:
        return {}
    wanted = {"norm_obs": True, "norm_reward": True} | (given if isinstance(given, dict) else {})
    if wanted["norm_reward"]:
        raise InputError(
            f"{where}: normalize: rewards are not normalised here; write normalize: "
            "\"{'norm_reward': False}\", and reward_scale: 0.1 for a factor"
        )
    return {"normalize": bool(wanted["norm_obs"])}


def number(value: Any) -> Any:
    """A number that YAML takes for a text, such as 1e-3; anything else unchanged."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def evaluated(text: str, where: str) -> Any:
    """The value of a Python expression of literals, `dict(...)` and names; nothing is executed."""
    try:
        return value_of(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{where}: {text!r:.60} is not a value ({error})") from error


def value_of(node: ast.expr) -> Any:
    """The value of a parsed expression; a dotted name is a text."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {pair.arg: value_of(pair.value) for pair in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(k): value_of(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [value_of(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, (ast.Name, ast.Attribute)):
        return ast.unparse(node)
    return ast.literal_eval(node)
