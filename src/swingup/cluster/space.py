"""A search space: for each setting a range or a list of choices, read from TOML. Needs no Optuna.

A table for each setting: `low`, `high` and perhaps `log = true`, or `choices`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swingup.config.fields import Field, from_value
from swingup.config.settings import FIELDS, Config, check_ranges
from swingup.config.toml_file import read_toml
from swingup.errors import InputError, nearest

SPACES = Path(__file__).parent / "spaces"

# Settings that a trial cannot choose: they say what is trained, for how long, or on what.
FIXED = {
    "env",
    "preset",
    "env_preset",
    "seed",
    "steps",
    "episodes",
    "episode_lines",
    "workers",
    "devices",
    "threads",
}


@dataclass(frozen=True)
class Dimension:
    """One setting of a space: `choices`, or the range from low to high, on a logarithmic scale if `log`."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any) -> Any:
        """The value that an Optuna trial chooses."""
        if self.choices:  # Optuna's choices are scalars; a list of widths is none
            return json.loads(trial.suggest_categorical(self.name, [json.dumps(c) for c in self.choices]))
        if FIELDS[self.name].kind is int:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


Space = tuple[Dimension, ...]


def read_space(name: str, config: Config) -> Space:
    """The space of this name (ddpg, td3), in this TOML file, or, for `auto`, of the config's algorithm."""
    known = sorted(path.stem for path in SPACES.glob("*.toml"))
    if name == "auto":
        name = "td3" if config.critics > 1 else "ddpg"
    path = SPACES / f"{name}.toml" if name in known else Path(name)
    where = f"--space {name}"
    if not path.is_file():
        hint = nearest(name, known) or f"; give {' or '.join(known)}, or the path of a TOML file"
        raise InputError(f"{where}: no such search space{hint}")
    return parse_space(read_toml(path, "--space"), where, config)


def parse_space(tables: dict[str, Any], where: str, config: Config) -> Space:
    """The space of a table for each setting; InputError for the first that cannot be searched."""
    if not tables:
        raise InputError(f"{where}: it names no setting; one table each, for example [gamma], low, high")
    return tuple(dimension(name, table, where, config) for name, table in tables.items())


def dimension(name: str, table: Any, where: str, config: Config) -> Dimension:
    """One setting's dimension from its table."""
    if name not in FIELDS:
        raise InputError(f"{where}: there is no setting {name!r}{nearest(name, FIELDS)}")
    if name in FIXED:
        raise InputError(f"{where}: {name} is the same in all trials; give it as {FIELDS[name].flag}")
    keys = set(table) if isinstance(table, dict) else set()
    if keys == {"choices"} and isinstance(table["choices"], list) and len(table["choices"]) > 1:
        found = Dimension(name, choices=tuple(table["choices"]))
    elif {"low", "high"} <= keys <= {"low", "high", "log"} and numeric(FIELDS[name]):
        found = between(name, table, where)
    else:
        what = "low, high and perhaps log = true, or choices" if numeric(FIELDS[name]) else "choices"
        raise InputError(f"{where}: [{name}] needs {what} (two or more)")
    for value in found.choices or (found.low, found.high):
        at = f"{where} [{name}]"
        try:
            check_ranges(dataclasses.replace(config, **{name: from_value(FIELDS[name], value, at)}))
        except InputError as error:
            raise InputError(str(error) if at in str(error) else f"{at}: {error}") from error
    return found


def between(name: str, table: dict[str, Any], where: str) -> Dimension:
    """The range of a table with low and high."""
    low, high, log = table["low"], table["high"], table.get("log", False)
    if not all(type(x) in (int, float) for x in (low, high)) or not low < high or type(log) is not bool:
        raise InputError(f"{where}: [{name}] low = {low}, high = {high}: give two numbers, the smaller first")
    if log and low <= 0:
        raise InputError(f"{where}: [{name}] low = {low}: a logarithmic scale has no zero; raise it")
    return Dimension(name, low, high, log)


def numeric(field: Field) -> bool:
    """Whether a range makes sense for the setting."""
    return field.kind is float or (field.kind is int and not field.many)


def as_tables(space: Space) -> dict[str, Any]:
    """The inverse of `parse_space`, for JSON."""
    return {
        d.name: {"choices": list(d.choices)} if d.choices else {"low": d.low, "high": d.high, "log": d.log}
        for d in space
    }
