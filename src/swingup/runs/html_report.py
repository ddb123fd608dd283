"""`swingup report RUN...`: runs and groups as one HTML page that needs no network and no other file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swingup.reports.curves import STEPS
from swingup.reports.html.live import SCRIPT
from swingup.reports.html.page import grid, page, paragraph, save, table, text, tiles
from swingup.reports.html.svg import Drawn, chart
from swingup.reports.wording import number
from swingup.runs.curves_over_seeds import learning_curve
from swingup.runs.group import Group
from swingup.runs.report_sections import (
    actions,
    diagnostics,
    learning,
    live_part,
    provenance,
    videos,
)
from swingup.runs.run import Run
from swingup.storage.run_folder import is_group


@dataclass(frozen=True)
class Entry:
    """What one word of the command names: a run, or the runs of a group."""

    folder: Path
    runs: tuple[Run, ...]
    group: dict[str, Any] | None  # the group's result

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def env(self) -> str:
        return self.runs[0].config.env

    @property
    def shown(self) -> Run:
        """The run whose policy is shown: the best of those that have finished."""
        return max(self.runs, key=lambda run: run.result.get("mean", -np.inf))


def open_entry(folder: Path) -> Entry:
    """A run's or a group's folder; InputError if it is neither."""
    if not is_group(folder):
        run = Run(folder)
        return Entry(run.folder, (run,), None)
    group = Group(folder)
    return Entry(folder, tuple(group.runs), group.result)


def final(entry: Entry) -> tuple[str, str, str]:
    """The closing result in words: figure, interval, and what they are over."""
    if entry.group is not None:
        done = [x for x in entry.group["seeds"].values() if x is not None]
        if not done:
            return "not finished", "", ""
        ends = entry.group["ci95"] or entry.group["range"]
        kind = "95 % interval over seeds" if entry.group["ci95"] else "range over seeds"
        between = f"{kind}: {number(ends[0])} to {number(ends[1])}" if ends else ""
        return number(entry.group["iqm"]), between, f"interquartile mean of {len(done)} seeds"
    result = entry.runs[0].result
    if not result:
        return "not finished", "", ""
    ends = result["ci95"]
    between = f"95 % interval over episodes: {number(ends[0])} to {number(ends[1])}" if ends else ""
    kind = "greedy episodes" if "source" not in result else "last training episodes, which explored"
    mean = "unknown" if result["mean"] is None else number(result["mean"])
    return mean, between, f"{result['episodes']:,} {kind}"


def report(*folders: str | Path, output: str | Path | None = None, play: bool = True) -> Path:
    """Write runs and groups as one HTML page and return its path.

    output: by default report.html in the folder, or here for several folders; play: also play two greedy
    episodes, whose actions the page counts. InputError for a folder that is neither a run nor a group, or a
    page that cannot be written.
    """
    entries = [open_entry(Path(folder)) for folder in folders]
    several = len(entries) > 1
    path = Path(output or (Path("report.html") if several else entries[0].folder / "report.html"))
    title = " and ".join(dict.fromkeys(e.env for e in entries)) if several else entries[0].env
    parts = [f"<h1>{text(title)}</h1>"]
    parts += overview(entries) if several else []
    for entry in entries:
        first = not any(SCRIPT in part for part in parts)
        parts += entry_parts(entry, several, first, play)
    save(path, page(f"{title} · swingup", parts))
    return path


# Several entries beside each other


def overview(entries: Sequence[Entry]) -> list[str]:
    """A table of all entries, and a chart of their curves for each environment."""
    rows = []
    for entry in entries:
        mean, ends, what = final(entry)
        rows.append([entry.name, mean, ends, what, len(entry.runs), entry.env, entry.runs[0].config.preset])
    head = ["run", "return", "interval", "over", "seeds", "environment", "preset"]
    charts = {}
    for env in dict.fromkeys(entry.env for entry in entries):
        found = [(e.name, learning_curve(e.runs)) for e in entries if e.env == env]
        drawn = [
            Drawn(dataclasses.replace(curve, name=f"{name}: {curve.name}"), k % 6)
            for k, (name, curve) in enumerate(found)
            if curve is not None
        ]
        if drawn:
            charts[env] = chart(drawn, STEPS, "greedy return")
    return [table(head, rows, (1, 4)), grid(charts)]


# One entry


def entry_parts(entry: Entry, several: bool, first: bool, play: bool) -> list[str]:
    """All that the page says of one run or group."""
    config, result = entry.runs[0].config, entry.shown.result
    seeds = ", ".join(str(run.config.seed) for run in entry.runs)
    title = f"preset {config.preset} · seed{'s' if len(entry.runs) > 1 else ''} {seeds}"
    parts = [f"<h2>{text(entry.name)}</h2>"] if several else []
    parts += [
        paragraph(f"{entry.env} · {title} · {entry.folder}" if several else f"{title} · {entry.folder}", True)
    ]
    mean, ends, over = final(entry)
    steps = result.get("steps", config.steps)
    figures = {f"greedy return, {over}" if over else "greedy return": mean}
    kind, _, between = ends.rpartition(": ")
    figures |= {kind: between} if between else {}
    figures |= {"environment steps a run": f"{steps:,}"}
    if result.get("seconds"):
        figures["of training, closing evaluation included"] = duration(result["seconds"])
    parts.append(tiles(figures))
    sections: list[tuple[str, Callable[[], list[str]]]] = [
        ("Push it", lambda: live_part(entry.shown, entry.name, first)),
        ("Learning", lambda: learning(entry.runs)),
        ("Diagnostics", lambda: diagnostics(entry.runs)),
        ("Actions", lambda: actions(entry.shown) if play else []),
        ("Videos", lambda: videos(entry.shown)),
        ("How it was made", lambda: provenance(entry.shown, entry.folder)),
    ]
    level = "h3" if several else "h2"
    for name, make in sections:
        if found := make():
            parts += [f"<{level}>{name}</{level}>", *found]
    return parts


def duration(seconds: float) -> str:
    """Seconds as text: 16.5 s, 12 min, 3.4 h."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
