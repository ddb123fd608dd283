"""What a command prints when it ends."""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Any

from swingup.loops.evaluation import Evaluation
from swingup.reports.wording import number
from swingup.runs.group import Group
from swingup.runs.run import Run, closing, figures

results: Any = None  # where JSON goes while everything else that is printed goes to stderr


@contextmanager
def json_alone(wanted: bool) -> Iterator[None]:
    """While it lasts, stdout gets what `emit` prints and nothing else: the rest goes to stderr.

    That holds for what environments and libraries print, for C code and for child processes.
    """
    global results
    if not wanted:
        yield
        return
    out = sys.stdout
    with ExitStack() as stack:
        results = stack.enter_context(only_ours(out)) if descriptor(out) == 1 else out
        stack.enter_context(redirect_stdout(sys.stderr))
        try:
            yield
        finally:
            results = None


@contextmanager
def only_ours(out: Any) -> Iterator[Any]:
    """A stream that writes to file descriptor 1, which meanwhile leads to stderr for everybody else."""
    out.flush()
    stdout = os.dup(1)
    try:
        os.dup2(2, 1)
        with os.fdopen(os.dup(stdout), "w", encoding=out.encoding, errors="replace") as ours:
            yield ours
    finally:
        out.flush()
        ctypes.CDLL(None).fflush(None)  # what C code printed is in a buffer until now
        os.dup2(stdout, 1)
        os.close(stdout)


def descriptor(stream: Any) -> int:
    """The file descriptor of a stream; -1 if it has none, as in a notebook."""
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return -1


def emit(value: dict[str, Any]) -> None:
    """Print a result as one line of JSON."""
    print(json.dumps(value), file=results or sys.stdout, flush=True)


@contextmanager
def working(what: str, after: float = 2.0) -> Iterator[None]:
    """Say on stderr what a command is doing: with a spinner, or as a line after some seconds."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    if console.is_terminal:
        with console.status(what):
            yield
        return
    timer = threading.Timer(after, lambda: print(f"swingup: {what}", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def closing_lines(result: dict[str, Any], env: str) -> str:
    """A group's result as text: a line over all seeds, and one for each."""
    seeds, done = result["seeds"], [x for x in result["seeds"].values() if x is not None]
    name, ends = ("95 % interval", result["ci95"]) if result["ci95"] else ("range", result["range"])
    ends = f" ({name} {number(ends[0])} to {number(ends[1])})" if ends else ""
    figure = f"interquartile mean {number(result['iqm'])}{ends}, " if done else ""
    count = f"{len(seeds)} seeds" if len(done) == len(seeds) else f"{len(done)} of {len(seeds)} seeds"
    first = f"{env}: {figure}{count} in {result['seconds']:.1f} s · {result['run']}"
    failed = result.get("failed", {})
    lines = [
        f"  seed {k}: {failed.get(k, 'not finished') if mean is None else number(mean)}"
        for k, mean in seeds.items()
    ]
    return "\n".join([first, *lines])


def conclude_group(group: Group, as_json: bool) -> int:
    """Print a group's result and the next step, or how to resume it; returns the exit code."""
    folder = shlex.quote(str(group.folder))
    if set(group.unfinished) - set(group.failed):
        print(f"swingup: interrupted; go on with: swingup resume {folder}", file=sys.stderr)
        return 75
    if as_json:
        emit(group.result)
    else:
        print(closing_lines(group.result, group.about["env"]))
        if not group.failed:
            print(f"next: swingup report {folder}")
    return 1 if group.failed else 0


def conclude_sweep(found: dict[str, Any], env: str, unfinished: int, as_json: bool) -> int:
    """Print a sweep's result, or how to resume it; returns the exit code: 1 if a trial failed."""
    from swingup.cluster.sweep_report import lines

    if unfinished > 0:
        folder = shlex.quote(found["run"])
        print(
            f"swingup: interrupted, {unfinished} trials left; go on with: swingup resume {folder}",
            file=sys.stderr,
        )
        return 75
    for number_, why in found["failed"].items():
        print(f"swingup: trial {number_} failed: {why}", file=sys.stderr)
    if as_json:
        emit(found)
    else:
        print("\n".join(lines(found, env)))
    return 1 if found["failed"] else 0


def conclude(run: Run, as_json: bool) -> int:
    """Print a run's result and the next step, or how to resume it; returns the exit code."""
    folder, result = shlex.quote(str(run.folder)), run.result
    if not result:
        way = "not all was saved" if run.lost else f"go on with: swingup resume {folder}"
        print(f"swingup: interrupted; {way}", file=sys.stderr)
        return 1 if run.lost else 75
    if as_json:
        emit(result)
    else:
        print(f"{closing(result, run.config.env)} · next: swingup report {folder}")
    return 1 if run.lost else 0


def conclude_evaluation(run: Run, evaluation: Evaluation, seconds: float, as_json: bool) -> int:
    """Print the result of greedy episodes; returns the exit code."""
    result = figures(evaluation, run.folder, seconds)
    if as_json:
        emit(result)
    else:
        print(closing(result, run.config.env))
    return 0


def tell(as_json: bool, found: dict[str, Any], show: Callable[[Any], None]) -> int:
    """Print findings as one JSON line, or with `show` on a console; returns the exit code."""
    from rich.console import Console

    if as_json:
        emit(found)
    else:
        show(Console(highlight=False))
    return 0
