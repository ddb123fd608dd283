"""How returns are written in every line that a person reads."""

from __future__ import annotations

from collections.abc import Sequence


def number(x: float) -> str:
    """A return as text: one decimal, or three significant digits below 1, so that small returns show."""
    return f"{x:.3g}" if 0 < abs(x) < 0.95 else f"{x or 0.0:,.1f}"


def interval(ci95: Sequence[float] | None) -> str:
    """A 95 % interval as text; empty without one, as one episode has none."""
    if ci95 is None or ci95[0] != ci95[0]:
        return ""
    return f"95 % interval {number(ci95[0])} to {number(ci95[1])}"
