"""Which seeds, and how they are trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from swingup import runtime
from swingup.envs.registry import in_jax
from swingup.errors import InputError
from swingup.runs.group import Mode

# Seeds that one command may train.
MOST = 10_000


@dataclass(frozen=True)
class Seeds:
    """Which seeds, how they are trained, and whether a number of XLA's threads was asked for."""

    numbers: tuple[int, ...]
    mode: Mode = "auto"
    threads: bool = False


def numbers(text: str | int | Sequence[int]) -> tuple[int, ...]:
    """The seeds of `8` (0 to 7), `4:8` (4 to 7), `0,3,5` or a sequence; InputError where it is none of these."""
    wrong = InputError(f"--seeds {text}: expected a count (8), a range (0:8, without its end) or a list (0,3,5), each seed once")
    if isinstance(text, (str, int)):
        word = str(text)
        if not re.fullmatch(r"\d{1,10}|\d{1,10}:\d{1,10}|\d{1,10}(,\d{1,10})+,?|\d{1,10},", word):
            raise wrong
        first, _, end = word.rpartition(":")
        if "," not in word and int(end) - int(first or 0) > MOST:
            raise InputError(f"--seeds {word}: more than {MOST:,}; train them in several groups")
        found = [int(x) for x in word.split(",") if x] if "," in word else list(range(int(first or 0), int(end)))
    else:
        found = [int(x) for x in text]
    if not found or len(set(found)) < len(found) or min(found) < 0 or max(found) >= 2**32:
        raise wrong
    return tuple(found)


def chosen(mode: Mode, env: str) -> Mode:
    """How seeds are trained on this machine, where nobody says.

    On CPUs a process for each core: XLA computes one program of a process at a time on one thread, and its batched products
    are slower than plain ones (docs/performance.md). On an accelerator one program, which keeps it busy.
    """
    if mode == "vmap" and not in_jax(env):
        raise InputError(f"--seeds-mode vmap: {env} runs in Python; only environments in JAX (native/...) are compiled together")
    if mode != "auto":
        return mode
    return "vmap" if in_jax(env) and runtime.accelerated() else "process"
