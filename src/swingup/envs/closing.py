"""Closing environments: one that raises, exits or hangs while it closes costs a warning, never a run."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from swingup.errors import EnvFault

if TYPE_CHECKING:
    from swingup.envs.api import VectorEnv

PATIENCE = 5.0  # seconds that the environments of a VectorEnv have to close, all together


class TooLong(BaseException):
    """Raised inside a `close` that takes too long; not an Exception, so that it is not caught there."""


@contextmanager
def closing(*envs: VectorEnv) -> Iterator[None]:
    """Close vector environments at the end, as `close_all` does."""
    try:
        yield
    finally:
        close_all(*envs)


def close_all(*envs: VectorEnv) -> None:
    """Close vector environments; one warning on stderr if some of them fail."""
    failures = []
    for env in envs:
        try:
            env.close()
        except EnvFault as fault:
            failures.append(str(fault))
    if failures:
        print(f"swingup: warning: {failures[0]}; everything else is done and kept", file=sys.stderr)


def failure(close: Callable[[], Any], seconds: float) -> str:
    """Call the `close` of one environment, for at most so many seconds; returns why it failed, or nothing."""
    try:
        limited(close, seconds)
    except TooLong:
        return f"close() has not ended after {PATIENCE:g} s"
    except (Exception, SystemExit) as error:
        return f"close() raised {type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def limited(close: Callable[[], Any], seconds: float) -> None:
    """Call `close` in this thread, as renderers need it; TooLong if it does not end in time."""
    if threading.current_thread() is not threading.main_thread():
        return limited_elsewhere(close, seconds)

    def ring(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    earlier = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again, where a `finally` hangs, too
    try:
        close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, *earlier)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


def limited_elsewhere(close: Callable[[], Any], seconds: float) -> None:
    """`limited` for other threads than the main one, which alone gets signals: in a thread of its own."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            close()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors or thread.is_alive():
        raise errors[0] if errors else TooLong
