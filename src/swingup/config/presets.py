"""Presets: named settings in TOML files beside this module, each number with its source."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swingup.config.fields import as_typed
from swingup.config.rl_zoo import read_yaml
from swingup.config.settings import Config, apply
from swingup.config.toml_file import read_toml
from swingup.errors import InputError, nearest

PRESETS = Path(__file__).parent


def read_file(path: Path, env: str = "") -> dict[str, Any]:
    """The settings in a file of TOML, of JSON (a run's config.json) or of YAML (RL Zoo's, those of `env`)."""
    kind = path.suffix.lower()
    if kind not in (".json", ".yml", ".yaml"):
        return read_toml(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"--config {path}: no such file; give the path of a file with settings") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path}: cannot be read ({error})") from error
    if kind != ".json":
        return read_yaml(path, text, env)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"--config {path}: cannot be read as JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f'--config {path}: expected settings by name, for example {{"gamma": 0.98}}')
    return found


@dataclass(frozen=True)
class Preset:
    """Named settings: a description, the environment ids that pick them, the values and their sources.

    algorithm: the names of those that make the algorithm; a preset that has some is combined with the
    environment's, whose values count for everything else.
    """

    name: str
    about: str
    envs: tuple[str, ...]
    values: dict[str, Any]
    sources: dict[str, str]
    algorithm: tuple[str, ...] = ()


def presets() -> dict[str, Preset]:
    """Every preset in the package, by name."""
    found = {}
    for path in sorted(PRESETS.glob("*.toml")):
        t = tomllib.loads(path.read_text(encoding="utf-8"))
        values = {k: v["value"] for k, v in t["settings"].items()}
        sources = {k: v["source"] for k, v in t["settings"].items()}
        envs, algorithm = (tuple(t.get(name, ())) for name in ("envs", "algorithm"))
        found[path.stem] = Preset(path.stem, t["about"], envs, values, sources, algorithm)
    return found


def pick(name: str, env: str, flag: str = "--preset") -> Preset:
    """The preset of that name; `auto` picks by environment id (of any module or library), else `ddpg`."""
    known = presets()
    if name == "auto":
        return made_for(env) or known["ddpg"]
    if name not in known:
        raise InputError(f"{flag} {name}: no such preset{nearest(name, known) or '; see swingup presets'}")
    return known[name]


def made_for(env: str) -> Preset | None:
    """The preset that an environment's id picks."""
    return next((p for p in presets().values() if env.replace("/", ":").rpartition(":")[2] in p.envs), None)


def chosen(env: str, preset: str, env_preset: str) -> tuple[Preset, Preset | None]:
    """The preset, and the environment's with which it is combined (None: it stands alone)."""
    found = pick(preset, env)
    if env_preset == "none" or (env_preset == "auto" and not found.algorithm):
        return found, None
    if not found.algorithm:
        combined = " and ".join(p.name for p in presets().values() if p.algorithm)
        raise InputError(
            f"--env-preset {env_preset}: the preset {found.name} is not combined with another; {combined} are"
        )
    return found, made_for(env) if env_preset == "auto" else pick(env_preset, env, "--env-preset")


def layers(env: str, preset: str, env_preset: str) -> dict[str, dict[str, Any]]:
    """The values that each preset gives, by its name, the weaker first."""
    found, other = chosen(env, preset, env_preset)
    if other is None:
        return {found.name: found.values}
    own = {name: found.values[name] for name in found.algorithm}
    rest = {name: v for name, v in found.values.items() if name not in other.values and name not in own}
    return {other.name: {k: v for k, v in other.values.items() if k not in own}, found.name: rest | own}


def names(env: str, preset: str, env_preset: str) -> tuple[str, str]:
    """The names of the preset and of the environment's, in place of `auto`; "none" where it stands alone."""
    found, other = chosen(env, preset, env_preset)
    return found.name, other.name if other else "none"


def resolved(config: Config) -> Config:
    """The config with the names of its presets in place of `auto`."""
    preset, env_preset = names(config.env, config.preset, config.env_preset)
    return dataclasses.replace(config, preset=preset, env_preset=env_preset)


def origins(config: Config) -> list[str]:
    """A line for each preset whose values a combination has, and one for values that are the user's own."""
    found = layers(config.env, config.preset, config.env_preset)
    if len(found) < 2:
        return []
    values = dataclasses.asdict(config)
    expected = dataclasses.asdict(base(config.env, config.preset, env_preset=config.env_preset))
    named = ("env", "preset", "env_preset", "seed")
    yours = [name for name, value in values.items() if value != expected[name] and name not in named]
    lines = {name: [k for k in given if k not in yours] for name, given in found.items()} | {"yours": yours}
    return [
        f"{name}: {', '.join(f'{k} {as_typed(values[k])}' for k in keys)}"
        for name, keys in lines.items()
        if keys
    ]


def base(env: str, preset: str = "auto", file: Path | None = None, env_preset: str = "auto") -> Config:
    """Defaults < presets < file, before any flag; preset and env_preset: as named before the file's."""
    in_file = read_file(file, env) if file else {}
    apply(Config(), in_file, f"--config {file}")  # checks its types first, as env and preset are used below
    env = env or in_file.get("env", "")
    preset = in_file.get("preset", preset) if preset == "auto" else preset
    env_preset = in_file.get("env_preset", env_preset) if env_preset == "auto" else env_preset
    config = Config(env=env)
    for name, values in layers(env, preset, env_preset).items():
        config = apply(config, values, f"preset {name}")
    found, other = names(env, preset, env_preset)
    return dataclasses.replace(apply(config, in_file, f"--config {file}"), preset=found, env_preset=other)
