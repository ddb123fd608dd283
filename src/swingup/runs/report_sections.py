"""The sections of a report on one run or group; each is a list of HTML, empty where there is nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swingup.config.presets import base
from swingup.errors import InputError
from swingup.reports.curves import STEPS, Curve, smoothed, thin, thinned
from swingup.reports.html.live import live
from swingup.reports.html.page import grid, paragraph, table, text, video
from swingup.reports.html.svg import Drawn, chart, histogram
from swingup.runs.actions import greedy_actions
from swingup.runs.curves_over_seeds import learning_curve, metric, single_seeds, training_returns
from swingup.runs.run import Run
from swingup.storage import tables
from swingup.storage.text_file import read_json

# Videos of one run that a page embeds, and the largest in bytes: a page must open on a phone.
VIDEOS, VIDEO_BYTES = 5, 4_000_000
# Action dimensions that are drawn.
DIMENSIONS = 8


def live_part(run: Run, name: str, first: bool) -> list[str]:
    """The canvas in which the policy acts, where the environment has a twin."""
    try:
        made = live(run.policy, name, first)
    except InputError:  # the run has not saved a policy yet
        return []
    return [made] if made else []


def learning(runs: Sequence[Run]) -> list[str]:
    """Learning curve, single seeds, training returns, and the returns of the closing evaluation."""
    charts = {}
    curve = learning_curve(runs)
    if curve is not None:
        drawn = []
        if len(runs) > 1:
            drawn += [Drawn(one, faint=True) for one in single_seeds(runs)]
        charts["Greedy evaluation"] = chart([*drawn, Drawn(curve)], STEPS, "return")
    drawn = []
    for k, run in enumerate(runs[:6]):
        x, y = training_returns(run)
        if len(x) and len(runs) == 1:
            drawn.append(Drawn(thinned(Curve("one episode, with exploration", x, y)), -1, dots=True))
        if len(x):
            name = "training return" if len(runs) == 1 else f"seed {run.config.seed}"
            drawn.append(Drawn(smoothed(name, x, y), k))
    if drawn:
        charts["Training episodes"] = chart(drawn, STEPS, "return")
    if closing := closing_returns(runs):
        charts["Closing evaluation, every episode"] = histogram(
            closing, "return of a greedy episode", "episodes"
        )
    return [grid(charts)] if charts else [paragraph("Nothing was logged yet.")]


def closing_returns(runs: Sequence[Run]) -> dict[str, np.ndarray]:
    """The returns of the closing evaluation's episodes, by seed; {} for runs of before they were kept."""
    found = {}
    for run in runs:
        t = tables.read_csv(run.folder / "closing.csv")
        returns = t.get("return", np.zeros(0))
        if run.result and np.isfinite(returns).any():
            found[f"seed {run.config.seed}"] = returns[np.isfinite(returns)]
    return found


# Charts of metrics.csv: title -> (name of the vertical axis, columns and their names).
CHARTS = {
    "Value against what follows": (
        "discounted return",
        {"q_start": "Q of first action", "return_start": "return that followed"},
    ),
    "Actions at a bound": ("share of actions", {"saturation": "greedy actions at one bound"}),
    "Gradient norms": ("norm", {"critic_gradient": "critic", "actor_gradient": "actor"}),
    "Error of the critic": ("RMS of the TD error", {"td_error": "TD error"}),
}


def diagnostics(runs: Sequence[Run]) -> list[str]:
    """Figures of the training's health, and the diagnoses that were printed."""
    charts = {}
    for title, (label, columns) in CHARTS.items():
        found = [metric(runs, column, name) for column, name in columns.items()]
        drawn = [Drawn(curve, k) for k, curve in enumerate(found) if curve is not None]
        if drawn:
            charts[title] = chart(drawn, STEPS, label)
    remarks = [
        f'<p class="remark">{text(who)}step {text(row.get("step"))}: {text(row.get("text"))}</p>'
        for run in runs
        for who in [f"seed {run.config.seed}, " if len(runs) > 1 else ""]
        for row in tables.read_text_csv(run.folder / "remarks.csv")
    ]
    return [*([grid(charts)] if charts else []), *remarks[:20]]


def actions(run: Run) -> list[str]:
    """How often the greedy policy takes which action, in each dimension."""
    try:
        taken, episodes = greedy_actions(run)
    except InputError as error:
        return [paragraph(f"Not counted: {error}", True)]
    spec = run.policy.spec
    charts = {
        f"Dimension {k}" if spec.action_size > 1 else "Greedy actions": histogram(
            {"": taken[:, k]}, "action, in the environment's units", "steps", (spec.low[k], spec.high[k])
        )
        for k in range(min(spec.action_size, DIMENSIONS))
    }
    many = "1 greedy episode" if episodes == 1 else f"{episodes} greedy episodes"
    more = (
        f"; {spec.action_size - DIMENSIONS} more dimensions are not drawn"
        if spec.action_size > DIMENSIONS
        else ""
    )
    said = f"{len(taken):,} steps of {many} of seed {run.config.seed}{more}."
    return [paragraph(said, True), grid(charts)]


def videos(run: Run) -> list[str]:
    """Films of training episodes at several stages, the first and the last included, and a greedy one."""
    folder = run.folder / "videos"
    training = sorted(folder.glob("episode-*.mp4"))
    (picks,) = thin(np.arange(len(training)), points=VIDEOS - 1)
    chosen = [(training[k], f"Training episode {int(training[k].stem[8:]):,}") for k in picks]
    chosen += [(path, "Greedy, after training") for path in sorted(folder.glob("eval-last-*.mp4"))[:1]]
    cells = {}
    for path, title in chosen:
        if path.stat().st_size <= VIDEO_BYTES:
            cells[title] = video(path, str(path))
        else:
            cells[title] = paragraph(f"{path}: {path.stat().st_size / 1e6:.0f} MB, too large to embed.", True)
    if not cells:
        return [
            paragraph(
                f"None was filmed. swingup video {run.folder} films greedy episodes; train --record "
                "films training episodes at several stages.",
                True,
            )
        ]
    return [grid(cells)]


def provenance(run: Run, folder: Path) -> list[str]:
    """Settings as a difference to the preset, the command, versions, machine and git revision."""
    config = dataclasses.asdict(run.config)
    preset = dataclasses.asdict(base(run.config.env, run.config.preset))
    rows = [
        [name, as_text(value), as_text(preset[name])]
        for name, value in config.items()
        if value != preset[name] and name not in ("env", "preset", "seed")
    ]
    parts = [paragraph(f"Settings that differ from the preset {run.config.preset}:")] if rows else []
    parts.append(
        table(["setting", "here", "preset"], rows)
        if rows
        else paragraph(f"Every setting is the preset's ({run.config.preset}).")
    )
    every = table(["setting", "value"], [[name, as_text(value)] for name, value in config.items()])
    parts.append(f"<details><summary>All settings</summary>{every}</details>")
    command = (folder if (folder / "command.txt").is_file() else run.folder) / "command.txt"
    if command.is_file():
        lines = command.read_text(encoding="utf-8", errors="replace").strip()
        parts += [paragraph("Made by:"), f"<pre>{text(lines)}</pre>"]
    machine = run.folder / "machine.json"
    if machine.is_file():
        about = [[name.replace("_", " "), as_text(value)] for name, value in read_json(machine).items()]
        parts += [paragraph("On:"), table(["", ""], about)]
    return parts


def as_text(value: Any) -> str:
    """A setting's value as it is typed."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value)
