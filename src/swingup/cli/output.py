"""What a command prints when it ends."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from typing import Any

from swingup.loops.evaluation import Evaluation
from swingup.reports.wording import interval, number
from swingup.runs.group import Group
from swingup.runs.run import Run, closing, figures


def closing_lines(result: dict[str, Any], env: str) -> str:
    """A group's result as text: a line over all seeds, and one for each."""
    seeds, done = result["seeds"], [x for x in result["seeds"].values() if x is not None]
    ends = f" ({interval(result['ci95'])})" if result["ci95"] else ""
    figure = f"interquartile mean {number(result['iqm'])}{ends}, " if done else ""
    count = f"{len(seeds)} seeds" if len(done) == len(seeds) else f"{len(done)} of {len(seeds)} seeds"
    first = f"{env}: {figure}{count} in {result['seconds']:.1f} s · {result['run']}"
    failed = result.get("failed", {})
    lines = [
        f"  seed {k}: {failed.get(k, 'not finished') if mean is None else number(mean)}"
        for k, mean in seeds.items()
    ]
    return "\n".join([first, *lines])


def resume_line(group: Group) -> str:
    return f"interrupted; go on with: swingup resume {shlex.quote(str(group.folder))}"


def conclude_group(group: Group, as_json: bool) -> int:
    """Print a group's result, or how to resume it; returns the exit code."""
    if set(group.unfinished) - set(group.failed):
        print(f"swingup: {resume_line(group)}", file=sys.stderr)
        return 75
    print(json.dumps(group.result) if as_json else closing_lines(group.result, group.about["env"]))
    return 1 if group.failed else 0


def conclude(run: Run, as_json: bool) -> int:
    """Print a run's result, or how to resume it; returns the exit code."""
    if not run.result:
        way = f"go on with: swingup resume {shlex.quote(str(run.folder))}"
        print(f"swingup: interrupted; {'not all was saved' if run.lost else way}", file=sys.stderr)
        return 1 if run.lost else 75
    print(json.dumps(run.result) if as_json else closing(run.result, run.config.env))
    return 1 if run.lost else 0


def conclude_evaluation(run: Run, evaluation: Evaluation, seconds: float, as_json: bool) -> int:
    """Print the result of greedy episodes; returns the exit code."""
    result = figures(evaluation, run.folder, seconds)
    print(json.dumps(result) if as_json else closing(result, run.config.env))
    return 0


def tell(as_json: bool, found: dict[str, Any], show: Callable[[Any], None]) -> int:
    """Print findings as one JSON line, or with `show` on a console; returns the exit code."""
    from rich.console import Console

    if as_json:
        print(json.dumps(found))
    else:
        show(Console(highlight=False))
    return 0
