"""Presets: named settings in TOML files beside this module, each number with its source."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swingup.config.settings import Config, apply
from swingup.errors import InputError, nearest

PRESETS = Path(__file__).parent


def read_toml(path: Path, flag: str = "--config") -> dict[str, Any]:
    """What a TOML file holds; InputError, which names the flag that gave the file, if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{flag} {path}: no such file; give the path of a TOML file with settings") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{flag} {path}: cannot be read as TOML ({error}); one setting a line, for example: gamma = 0.98"
        ) from error


@dataclass(frozen=True)
class Preset:
    """Named settings: a description, the environment ids that pick them, the values and their sources."""

    name: str
    about: str
    envs: tuple[str, ...]
    values: dict[str, Any]
    sources: dict[str, str]


def presets() -> dict[str, Preset]:
    """Every preset in the package, by name."""
    found = {}
    for path in sorted(PRESETS.glob("*.toml")):
        t = tomllib.loads(path.read_text(encoding="utf-8"))
        values = {k: v["value"] for k, v in t["settings"].items()}
        sources = {k: v["source"] for k, v in t["settings"].items()}
        found[path.stem] = Preset(path.stem, t["about"], tuple(t.get("envs", ())), values, sources)
    return found


def pick(name: str, env: str) -> Preset:
    """The preset of that name; `auto` picks by environment id (of any module or library), else `ddpg`."""
    known = presets()
    if name == "auto":
        return next(
            (p for p in known.values() if env.replace("/", ":").rpartition(":")[2] in p.envs), known["ddpg"]
        )
    if name not in known:
        raise InputError(f"--preset {name}: no such preset{nearest(name, known) or '; see swingup presets'}")
    return known[name]


def base(env: str, preset: str = "auto", file: Path | None = None) -> Config:
    """Defaults < preset < file, before any flag."""
    in_file = read_toml(file) if file else {}
    apply(Config(), in_file, f"--config {file}")  # checks its types first, as env and preset are used below
    env = env or in_file.get("env", "")
    chosen = pick(in_file.get("preset", preset) if preset == "auto" else preset, env)
    config = apply(Config(env=env), chosen.values, f"preset {chosen.name}")
    return dataclasses.replace(apply(config, in_file, f"--config {file}"), preset=chosen.name)
