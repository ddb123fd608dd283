"""The seeds of a group: how they are given, and the mode in which they are trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from swingup import runtime
from swingup.config.settings import Place
from swingup.envs.registry import in_jax
from swingup.errors import InputError
from swingup.runs.group import Mode

# Seeds that one command may train.
MOST = 10_000


@dataclass(frozen=True)
class Seeds:
    """Which seeds, the mode of training, whether the user set the number of threads, and where they are
    trained: None is this machine."""

    numbers: tuple[int, ...]
    mode: Mode = "auto"
    threads: bool = False
    on: Place | None = None


def numbers(text: str | int | Sequence[int]) -> tuple[int, ...]:
    """The seeds of `8` (0 to 7), `4:8` (4 to 7), `0,3,5` or a sequence; InputError for anything else."""
    wrong = InputError(
        f"--seeds {text}: expected a count (8), a range (0:8, without its end) or a list (0,3,5), "
        "each seed once"
    )
    if isinstance(text, (str, int)):
        word = str(text)
        if not re.fullmatch(r"\d{1,10}|\d{1,10}:\d{1,10}|\d{1,10}(,\d{1,10})+,?|\d{1,10},", word):
            raise wrong
        first, _, end = word.rpartition(":")
        if "," not in word and int(end) - int(first or 0) > MOST:
            raise InputError(f"--seeds {word}: more than {MOST:,}; train them in several groups")
        found = (
            [int(x) for x in word.split(",") if x] if "," in word else list(range(int(first or 0), int(end)))
        )
    else:
        found = [int(x) for x in text]
    if not found or len(set(found)) < len(found) or min(found) < 0 or max(found) >= 2**32:
        raise wrong
    return tuple(found)


def choose_mode(mode: Mode, env: str, devices: int = 1, on: Place | None = None) -> Mode:
    """The mode in which seeds are trained; InputError where `mode` cannot be used.

    On CPUs a process for each core: with one thread XLA computes the programs of a process one at a time, and
    its batched products are slower than plain ones (docs/performance.md). On an accelerator one program,
    which keeps it busy.
    """
    if mode == "vmap" and not in_jax(env):
        raise InputError(
            f"--seeds-mode vmap: {env} runs in Python; "
            "only environments in JAX (native/...) are compiled together"
        )
    if mode == "vmap" and on is not None:
        raise InputError(f"--seeds-mode vmap: one program cannot be spread; leave it out, or --on {on}")
    if mode == "auto" and on is not None:
        mode = "process"
    if mode == "auto":
        mode = "vmap" if in_jax(env) and runtime.accelerated() else "process"
    if devices > 1 and mode == "vmap":
        fix = "several seeds in one program are not spread over devices; use --seeds-mode process"
        raise InputError(f"--devices {devices}: {fix}")
    return mode
