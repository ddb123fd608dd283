"""Calls a function in a child process, for code that may crash, hang or print; `ask` always gets an answer.

python -m swingup.tools.subprocess_call MODULE:FUNCTION ARGUMENTS   one line of JSON: the value, or the error
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """The answer of a child process: a value, or why there is none."""

    value: Any
    error: str


def ask(
    function: str, args: Sequence[Any] = (), env: Mapping[str, str] | None = None, timeout: float = 60
) -> Answer:
    """Call a function, named as module:function of swingup, in a child process; never raises.

    args and the value are JSON; env: environment variables to add; timeout: in seconds.
    """
    path = os.pathsep.join(os.path.abspath(p) for p in sys.path if p)
    settings = {**os.environ, **(env or {}), "PYTHONPATH": path, "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
    command = [sys.executable, "-m", "swingup.tools.subprocess_call", function, json.dumps(args)]
    try:
        with tempfile.TemporaryDirectory() as folder:  # MuJoCo writes a log into the current folder
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, cwd=folder, env=settings
            )
    except subprocess.TimeoutExpired:
        return Answer(None, f"no answer within {timeout:.0f} s")
    except OSError as error:
        return Answer(None, f"no process could be started: {error}")
    try:
        return Answer(*json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return Answer(None, brief(f"the process ended with {done.returncode} {last}"))


def reply(function: str, args: str) -> str:
    """The child process's half of `ask`: call the function; the value or the error as one line of JSON."""
    try:
        module, _, name = function.partition(":")
        call = getattr(importlib.import_module(f"swingup.{module}"), name)
        return json.dumps(Answer(call(*json.loads(args)), ""))
    except Exception as error:
        return json.dumps(Answer(None, brief(f"{type(error).__name__}: {error}".removesuffix(": "))))


def brief(text: str) -> str:
    """The text as one line of at most 200 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:199] + "…"


if __name__ == "__main__":
    print(reply(sys.argv[1], sys.argv[2]))
