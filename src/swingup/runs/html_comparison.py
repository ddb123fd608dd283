"""`swingup compare A B --report`: a comparison as one HTML page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from swingup.reports.curves import STEPS
from swingup.reports.html.page import grid, page, paragraph, save, table, text
from swingup.reports.html.svg import Drawn, chart
from swingup.runs.compare import Comparison, Estimate, Side
from swingup.runs.compare_report import MEANING
from swingup.runs.curves_over_seeds import learning_curve
from swingup.runs.run import Run


def write_comparison(found: Comparison, output: Path | None = None) -> Path:
    """Write the page and return its path, by default compare-A-B.html with the names of both folders."""
    names = [Path(side.folder).resolve().name for side in (found.a, found.b)]
    path = output or Path(f"compare-{names[0]}-{names[1]}.html")
    save(path, page(f"{names[0]} and {names[1]} · swingup", parts(found)))
    return path


def parts(c: Comparison) -> list[str]:
    """What the page says: the conclusion first, then curves, figures and settings."""
    sides = [paragraph(f"{name}: {side.folder}", True) for name, side in (("A", c.a), ("B", c.b))]
    made = [
        f"<h1>{text(c.env)}: A and B</h1>",
        *sides,
        f"<p><b>{text(c.sentence[:1].upper() + c.sentence[1:])}.</b></p>",
        *(f'<p class="remark">{text(warning)}</p>' for warning in c.warnings),
    ]
    drawn = [d for k, side in enumerate((c.a, c.b)) for d in curve("AB"[k], side, k)]
    if drawn:
        made += ["<h2>Learning</h2>", grid({"Greedy evaluation": chart(drawn, STEPS, "return")})]
    figures = table(["", "A", "B", "B - A"], rows(c), (1, 2, 3))
    made += [f"<h2>Figures: {MEANING[c.metric]}</h2>", figures]
    if c.settings:
        differences = [[name, a, b] for name, (a, b) in c.settings.items()]
        made += ["<h2>Settings that differ</h2>", table(["setting", "A", "B"], differences)]
    return made


def curve(name: str, side: Side, colour: int) -> list[Drawn]:
    """A side's learning curve; empty if its evaluations were not kept."""
    found = learning_curve([Run(entry.run) for entry in side.runs])
    return [Drawn(dataclasses.replace(found, name=f"{name}: {found.name}"), colour)] if found else []


def rows(c: Comparison) -> list[Sequence[str]]:
    """The figures of each seed, and the estimates with their intervals."""
    shown = lambda x: "" if x is None else c.form(x)
    seeds = [[f"seed {r['seed']}", *(shown(r[k]) for k in ("a", "b", "difference"))] for r in c.rows]

    def estimate(x: Estimate) -> str:
        return c.form(x.value) + c.between(x, " ({})")

    if c.method == "episodes":
        return [["return (95 % interval)", *map(estimate, (c.a.mean, c.b.mean, c.difference))]]
    p = c.improvement
    chance = f"{p.value:.2f}" + ("" if p.low is None else f" ({p.low:.2f} to {p.high:.2f})")
    means = ["mean (95 % interval)", estimate(c.a.mean), estimate(c.b.mean), estimate(c.difference)]
    middles = ["interquartile mean (95 % interval)", estimate(c.a.iqm), estimate(c.b.iqm), ""]
    return [*seeds, means, middles, ["P(B > A)", "", "", chance]]
