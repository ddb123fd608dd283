"""The package's exceptions: each message is one line that says what, where and the fix."""

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """The user's input cannot be used; the command line exits with status 2 before it does any work."""


class EnvFault(RuntimeError):
    """An environment violated its contract during a run; nothing of the faulty step reached replay."""


class Diverged(RuntimeError):
    """A gradient or parameter stopped being finite; such a gradient is replaced by zeros before the step."""


def nearest(word: str, known: Any) -> str:
    """`; did you mean X?` for the closest of `known`, or an empty string."""
    near = difflib.get_close_matches(word, list(known), 1, 0.65)
    return f"; did you mean {near[0]}?" if near else ""


def unknown(name: str, known: Iterable[str]) -> InputError:
    """The error for an unknown environment `name`: suggests the most similar of `known`, else lists all."""
    folded = {k.lower(): k for k in known}
    near = [folded[k] for k in difflib.get_close_matches(name.lower(), folded, 3, 0.6)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(folded.values())}"
    return InputError(f"environment {name}: no such name; {hint}")
