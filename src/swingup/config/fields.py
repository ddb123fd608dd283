"""Fields of settings: each has a default, help text, group, range and other libraries' names for it.

Flags, help, checks and configuration files are all derived from these.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from swingup.config.arguments import parsed, plain
from swingup.errors import InputError, nearest


@dataclass(frozen=True)
class Range:
    """The finite numbers from `low` (excluded unless `closed`) to `high`."""

    low: float
    high: float
    closed: bool = True

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.low <= value if self.closed else self.low < value)
            and value <= self.high
        )

    def __str__(self) -> str:
        words = ("from", "to") if self.closed else ("above", "up to")
        return f"{words[0]} {self.low:,.12g} {words[1]} {self.high:,.12g}"


@dataclass(frozen=True)
class Field:
    """One field of a dataclass of settings.

    kind: int, float, str, bool, Path or dict (arguments by name); many: whether it is a tuple of them;
    choices: the words that it may be; aliases: other libraries' names for it, without hyphens in front;
    positional: its placeholder, if it is given without a flag; first: whether the help shows it among the
    most used; shares: another field, whose name and flag take this one's words, too.
    """

    name: str
    default: Any
    kind: Any
    many: bool
    optional: bool
    choices: tuple[str, ...]
    help: str
    group: str
    range: Range | None
    aliases: tuple[str, ...]
    flag: str
    positional: str
    first: bool
    shares: str

    @property
    def nouns(self) -> str:
        """The kind of value, in words."""
        if self.choices:
            return " or ".join((", ".join(self.choices[:-1]), self.choices[-1]))
        word = {
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            Path: "a path",
            str: "a string",
            dict: "arguments by name, NAME=VALUE",
        }[self.kind]
        several = {
            int: "a list of whole numbers",
            float: "a number, or a list of one per action dimension",
            str: "module:function, once or more",
            Path: "paths",
        }
        return several[self.kind] if self.many else word

    @property
    def collects(self) -> bool:
        """Whether its flag may be given several times, and each adds to what is there."""
        return self.kind is dict or (self.many and self.kind is str)


def setting(
    default: Any,
    help: str,
    group: str = "options",
    *,
    values: str = "",
    aliases: str = "",
    flag: str = "",
    positional: str = "",
    first: bool = False,
    shares: str = "",
) -> Any:
    """A dataclass field with its default and the metadata of `Field`.

    values: the range of a number, as "[0, 1]" or, without its lower end, "(0, 1]"; aliases: separated by
    spaces.
    """
    about = {"help": help, "group": group, "range": interval(values), "aliases": tuple(aliases.split())}
    names = {"flag": flag, "positional": positional, "first": first, "shares": shares}
    return dataclasses.field(default=default, metadata=about | names)


def interval(text: str) -> Range | None:
    """The range that is written as "[0, 1]" or "(0, 1]"; None for no text."""
    if not text:
        return None
    low, high = map(float, text[1:-1].split(","))
    return Range(low, high, text[0] == "[")


@cache
def fields(kind: Any) -> dict[str, Field]:
    """The fields of a dataclass of settings by name, nested dataclasses included."""
    found: dict[str, Field] = {}
    hints = get_type_hints(kind)
    for f in dataclasses.fields(kind):
        inner = hints[f.name]
        if dataclasses.is_dataclass(inner):
            found |= fields(inner)  # type: ignore[arg-type]
            continue
        optional = NoneType in get_args(inner)
        (base,) = [t for t in get_args(inner) if t is not NoneType] if optional else [inner]
        many, choices = get_origin(base) is tuple, get_args(base) if get_origin(base) is Literal else ()
        value = get_args(base)[0] if many else str if choices else get_origin(base) or base
        about = {**setting(None, "").metadata, **f.metadata}
        about["flag"] = about["flag"] or flag(f.name)
        default = None if f.default is dataclasses.MISSING else f.default
        found[f.name] = Field(f.name, default, value, many, optional, choices, **about)
    return found


def owner(every: dict[str, Field], name: str, value: Any) -> Field:
    """The field that a value given by `name` is for: a word may be for one that shares the name."""
    sharing = [f for f in every.values() if f.shares == name and isinstance(value, str)]
    return next((f for f in sharing if value in f.choices), every[name])


def flag(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def aliases(kind: type) -> dict[str, tuple[str, ...]]:
    """Other libraries' names for the fields of a dataclass; one name may set several fields."""
    found: dict[str, tuple[str, ...]] = {}
    for name, field in fields(kind).items():
        for alias in field.aliases:
            found[alias] = (*found.get(alias, ()), name)
    return found


def from_words(field: Field, words: Sequence[str], command: str) -> Any:
    """A field's value from words of the command line; InputError if they are not one."""
    if field.kind is dict and [word.lower() for word in words] != ["none"]:
        try:
            return parsed(words, f"{command} {field.flag} {' '.join(words)}")
        except ValueError as error:
            raise InputError(str(error)) from None
    numbers = field.many and field.kind is not Path
    parts = [part for word in words for part in word.split(",") if part] if numbers else list(words)
    if not parts or (len(parts) > 1 and not field.many):
        raise InputError(f"{command} {field.flag}: expected {field.nouns} after it")
    if field.optional and [p.lower() for p in parts] == ["none"]:
        return None
    where = f"{command} {field.flag} {' '.join(words)}"
    values = [from_word(field, part, where) for part in parts]
    return tuple(values) if field.many else values[0]


def from_word(field: Field, word: str, where: str) -> Any:
    if field.kind in (int, float):
        try:
            number = float(word)
            exact = int(word) if word.lstrip("+-").isdigit() else number
        except ValueError:
            raise InputError(f"{where}: expected {field.nouns}") from None
        if field.kind is int and not float(exact).is_integer():
            raise InputError(f"{where}: expected {field.nouns}")
        return field.kind(exact)
    if field.choices and word not in field.choices:
        raise InputError(f"{where}: expected {field.nouns}{nearest(word, field.choices)}")
    return field.kind(word)


def from_value(field: Field, value: Any, where: str) -> Any:
    """A value from TOML, JSON or Python as the field's type; InputError if it is not one."""
    if field.optional and (value is None or value == "none"):  # as on the command line; TOML has no null
        return None
    if isinstance(value, os.PathLike) and field.kind is str:
        value = os.fspath(value)
    if field.kind is dict and isinstance(value, dict) and all(isinstance(k, str) for k in value):
        try:
            return {name: plain(item, f"{where}: {field.name}.{name}") for name, item in value.items()}
        except ValueError as error:
            raise InputError(str(error)) from None
    if field.many and field.kind is str:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, (list, tuple)) and all(isinstance(v, str) for v in items):
            return tuple(items)
    elif field.many:
        items = value if isinstance(value, (list, tuple)) else [value] if field.kind is float else None
        if items is not None and all(is_number(v, field.kind) for v in items):
            return tuple(field.kind(v) for v in items)
    elif field.kind in (int, float):
        if is_number(value, field.kind):
            return field.kind(value)
    elif type(value) is field.kind or (field.kind is Path and isinstance(value, str)):
        return field.kind(value)
    # A string that is not one of the choices is an error of `check_ranges`.
    raise InputError(
        f"{where}: {field.name} = {value!r} is not {'a string' if field.choices else field.nouns}"
    )


def as_typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == "":
        return "none"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def is_number(value: Any, kind: type) -> bool:
    """Whether a value is a number (not a bool), and a whole one if `kind` is int."""
    if not isinstance(value, numbers.Real) or isinstance(value, (bool, np.bool_)):
        return False
    return kind is float or (math.isfinite(value) and float(value).is_integer())


def check_ranges(values: Any) -> None:
    """InputError for the first field of an instance whose value is not in its range or choices."""
    kind: Any = type(values)
    for name in (f.name for f in dataclasses.fields(values) if f.name in fields(kind)):
        field, value = fields(kind)[name], getattr(values, name)
        if field.range is not None and value is not None and value not in field.range:
            raise InputError(f"{field.flag} {value}: expected a number {field.range}")
        if field.choices and value is not None and value not in field.choices:
            raise InputError(f"{field.flag} {value}: expected {field.nouns}")
