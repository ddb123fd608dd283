"""Arguments of an environment's constructor: as text (`g=5.0,size=3`), and as values that JSON holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

WORDS = {"true": True, "false": False, "none": None, "null": None}


def parsed(words: Sequence[str], where: str) -> dict[str, Any]:
    """The arguments in words like `g=5.0,limits=[1,2]` or `g:5.0`; ValueError if one has no name."""
    found: dict[str, Any] = {}
    for pair in (pair for word in words for pair in split(word)):
        signs = [i for i in (pair.find("="), pair.find(":")) if i > 0]
        name = pair[: min(signs)].strip() if signs else ""
        if not name.isidentifier():
            raise ValueError(f"{where}: expected NAME=VALUE with commas between, for example g=5.0,size=3")
        found[name] = value_of(pair[min(signs) + 1 :].strip())
    return found


def split(text: str) -> Iterator[str]:
    """The parts of a text between its commas, but those in brackets and quotes."""
    part, depth, quote = "", 0, ""
    for c in text:
        if c == "," and not depth and not quote:
            yield part
            part = ""
            continue
        if quote or c in "'\"":
            quote = "" if c == quote else quote or c
        elif c in "[{(":
            depth += 1
        elif c in ")}]":
            depth -= 1
        part += c
    if part.strip():
        yield part


def value_of(text: str) -> Any:
    """A number, truth value, list, dictionary or quoted text as Python writes it; any other text as it is."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return plain(ast.literal_eval(text), text)
    except (ValueError, SyntaxError):
        return text


def plain(value: Any, where: str) -> Any:
    """A value as JSON gives it back: tuples as lists, NumPy's numbers as Python's.

    ValueError, which names the argument, for anything that JSON cannot hold.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item, where) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    raise ValueError(
        f"{where}: a {type(value).__name__} cannot be kept with the run; give numbers, texts, lists and "
        "dictionaries of them, or a function that makes the environment"
    )
