"""Output of a comparison: JSON for programs, text and a table for people."""

from __future__ import annotations

import dataclasses
from typing import Any

from swingup.runs.compare import Comparison, Estimate

MEANING = {
    "final": "return of the closing evaluation",
    "best": "return of the best evaluation",
    "last-ten": "mean return of the last ten evaluations",
}


def report(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON values: what `--json` prints."""
    extra = {"rows": comparison.rows, "better": comparison.better, "sentence": comparison.sentence}
    return {**dataclasses.asdict(comparison), **extra}


def show(comparison: Comparison, console: Any) -> None:
    """Print a comparison on a rich console; fits 80 columns."""
    from rich.padding import Padding
    from rich.text import Text

    c = comparison
    console.print(Text(f"{c.env} · {MEANING[c.metric]}", "bold"))
    for name, side in (("A", c.a), ("B", c.b)):
        seeds = f"seed {side.runs[0].seed}" if len(side.runs) == 1 else f"{len(side.runs)} seeds"
        console.print(Padding(Text(f"{name}  {side.folder} · {seeds}"), (0, 0, 0, 2), expand=False))
    if c.settings:
        changes = ", ".join(f"{name} {a} → {b}" for name, (a, b) in c.settings.items())
        console.print(Padding(Text(f"from A to B: {changes}", "dim"), (0, 0, 0, 2), expand=False))
    console.print()
    console.print(table(c))
    console.print()
    for warning in c.warnings:
        console.print(Text(f"warning: {warning}", "yellow"))
    console.print(Text(c.sentence, "bold"))


def table(c: Comparison) -> Any:
    """The figures as a rich table: a row per seed, then the estimates, each with its interval below."""
    from rich.table import Table

    made = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
    made.add_column("")
    for name in ("A", "B", "B - A"):
        made.add_column(name, justify="right", no_wrap=True)

    def estimates(label: str, *cells: Estimate | None) -> None:
        made.add_row(label, *(c.form(x.value) if x else "" for x in cells))
        if any(x and x.low is not None for x in cells):
            made.add_row("  95 %", *(c.between(x) if x else "" for x in cells), style="dim")

    if c.method == "episodes":
        estimates("return", c.a.mean, c.b.mean, c.difference)
        return made
    for row in c.rows:
        made.add_row(
            f"seed {row['seed']}",
            *("–" if row[k] is None else c.form(row[k]) for k in ("a", "b", "difference")),
        )
    made.add_section()
    estimates("mean", c.a.mean, c.b.mean, c.difference)
    estimates("interquartile mean", c.a.iqm, c.b.iqm, None)
    p = c.improvement
    made.add_row("P(B > A)", "", "", f"{p.value:.2f}")
    if p.low is not None:
        made.add_row("  95 %", "", "", f"{p.low:.2f} to {p.high:.2f}", style="dim")
    return made
