"""How a run is asked to stop: a signal sets a flag, the loop ends where nothing is half done."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """Raised out of an evaluation that was going on when the run was asked to stop."""


class Stop:
    """Whether the run was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Interrupted, if so."""
        if self.asked:
            raise Interrupted


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Ctrl-C, SIGTERM or SIGUSR1 (Slurm's warning) asks to stop after this step and to save; a second one stops at once."""
    stop = Stop()

    def ask(signum: int, frame: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        print("swingup: stopping after this step; once more stops at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
