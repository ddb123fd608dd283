"""Stop requests: a signal sets a flag, and training ends after a complete iteration."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from swingup.runtime import in_forked_children


class Interrupted(Exception):
    """Raised from an evaluation during which a signal arrived."""


class StopRequest:
    """Whether a run should stop: a signal interrupts it, a callback ends it for a reason."""

    def __init__(self, of_all: StopRequest | None = None) -> None:
        self.of_all = of_all  # the request that interrupts all runs of a group
        self.signalled = False
        self.reason = ""

    @property
    def interrupted(self) -> bool:
        """Whether a signal arrived, for this run or its group."""
        return self.signalled or (self.of_all is not None and self.of_all.interrupted)

    @property
    def asked(self) -> bool:
        return self.interrupted or bool(self.reason)

    def end(self, reason: str) -> None:
        """Let the run end after this iteration, with its closing evaluation."""
        self.reason = self.reason or reason

    def raise_if_interrupted(self) -> None:
        """Raise Interrupted if a signal arrived."""
        if self.interrupted:
            raise Interrupted


@contextmanager
def deferred_signals() -> Iterator[Callable[[], None]]:
    """Delay signals while code runs that must not be left half done; the function handles those that came.

    An iteration is such code: its state is donated while it is computed. A second signal of a
    kind is handled at once, as something may hang.
    """
    due: list[tuple[int, Any]] = []
    handlers = {
        n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1)
    }

    def defer(number: int, frame: Any) -> None:
        if any(number == earlier for earlier, _ in due):
            handlers[signal.Signals(number)](number, frame)  # type: ignore[operator, misc]
        due.append((number, frame))

    def handle() -> None:
        while due:
            number, frame = due.pop(0)
            handlers[signal.Signals(number)](number, frame)  # type: ignore[operator, misc]

    if threading.current_thread() is not threading.main_thread():
        yield handle
        return
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, defer)
    try:
        yield handle
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Ctrl-C, SIGTERM or SIGUSR1 (Slurm's warning) ends the run after this step; a second one at once."""
    stop = StopRequest()

    def ask(signum: int, frame: object) -> None:
        if stop.signalled:
            raise KeyboardInterrupt
        stop.signalled = True
        print("swingup: stopping after this step; once more stops at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    }
    replaced.append(before)
    try:
        yield stop
    finally:
        replaced.remove(before)
        for number, handler in before.items():
            signal.signal(number, handler)


replaced: list[dict[signal.Signals, Any]] = []  # the handlers that runs of this process have replaced


def forked() -> None:
    """Give a process that an environment forks the handlers of before: `terminate` must end it."""
    for before in reversed(replaced):
        for number, handler in before.items():
            signal.signal(number, handler)
    replaced.clear()


in_forked_children(forked)
