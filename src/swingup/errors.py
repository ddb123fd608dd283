"""What can go wrong, as types: each message is one line that says what, where and the fix."""

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Something the user gave is not usable; the command line exits with 2 before any work is done."""


class EnvFault(RuntimeError):
    """An environment broke its contract during a run; nothing of the faulty step reached replay."""


class Diverged(RuntimeError):
    """A gradient or parameter stopped being finite; nothing of that update reached the weights."""


def nearest(word: str, known: Any) -> str:
    """`; did you mean X?` for the closest of `known`, or nothing."""
    near = difflib.get_close_matches(word, list(known), 1, 0.65)
    return f"; did you mean {near[0]}?" if near else ""


def unknown(name: str, known: Iterable[str]) -> InputError:
    """The one-line error of a name that is none of those known: with those most like it, or all where none is."""
    folded = {k.lower(): k for k in known}
    near = [folded[k] for k in difflib.get_close_matches(name.lower(), folded, 3, 0.6)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(folded.values())}"
    return InputError(f"environment {name}: no such name; {hint}")
