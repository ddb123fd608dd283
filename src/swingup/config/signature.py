"""Signatures that show every setting: for `help` and for editors that read them from the running program."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from swingup.config.fields import as_typed
from swingup.config.settings import FIELDS


def shows_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that takes **settings a signature with each of them, and their meaning in its help."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    given = {p.name for p in own}
    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter(name, keyword, default=field.default)
        for name, field in FIELDS.items()
        if name not in given
    ]
    function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    texts = [f"{name}: {field.help} [{as_typed(field.default)}]" for name, field in FIELDS.items()]
    lines = [textwrap.fill(text, 100, initial_indent="    ", subsequent_indent="        ") for text in texts]
    about = "Settings, with their defaults where no preset says otherwise:"
    function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", about, *lines])
    return function
