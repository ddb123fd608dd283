"""What every picture of a run has in common: colours, axes in words, smoothing, curves over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; the first is for results.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GREY = "#8a939d"

# The horizontal axis of every curve.
STEPS = "environment steps"

# Points of a curve that a picture shows: more are thinner than a pixel.
POINTS = 300


@dataclass(frozen=True)
class Curve:
    """y[T] over environment steps x[T], with the ends low[T], high[T] of an interval; band: its name."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    band: str = ""


def thin(x: np.ndarray, *columns: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, ...]:
    """Every k-th entry of arrays of one length, the last one included, so that at most `points` stay."""
    if len(x) <= points:
        return (x, *columns)
    picks = np.unique(np.linspace(0, len(x) - 1, points).round().astype(int))
    return tuple(column[picks] for column in (x, *columns))


def thinned(curve: Curve) -> Curve:
    """A curve with at most POINTS points."""
    names = [name for name in ("x", "y", "low", "high") if getattr(curve, name) is not None]
    columns: Any = zip(names, thin(*(getattr(curve, name) for name in names)), strict=True)
    return replace(curve, **dict(columns))


def smooth(y: np.ndarray, width: int) -> np.ndarray:
    """The mean of y over `width` neighbours (fewer at the ends), without what is not a number."""
    there = np.isfinite(y)
    sums = np.concatenate([[0.0], np.cumsum(np.where(there, y, 0))])
    counts = np.concatenate([[0], np.cumsum(there)])
    middle = np.arange(len(y))
    low = np.maximum(middle - width // 2, 0)
    high = np.minimum(middle + (width + 1) // 2, len(y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums[high] - sums[low]) / (counts[high] - counts[low])


def smoothed(name: str, x: np.ndarray, y: np.ndarray) -> Curve:
    """A noisy curve, such as training returns, as the mean over a twentieth of its points, or over five."""
    width = max(min(5, len(y)), len(y) // 20)
    what = f"{name}, mean of {width:,}" if width > 1 else name
    return thinned(Curve(what, x, smooth(y, width)))


def together(tables: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Curves of S seeds on common steps: x[T] within the range of all, y[S, T], linear between points."""
    low = max(float(x[0]) for x, _ in tables)
    high = min(float(x[-1]) for x, _ in tables)
    every = np.unique(np.concatenate([x for x, _ in tables]))
    steps = every[(every >= low) & (every <= high)]
    (steps,) = thin(steps, points=120)
    return steps, np.stack([np.interp(steps, x, y) for x, y in tables])


def ticks(low: float, high: float, count: int = 5) -> np.ndarray:
    """About `count` round numbers between low and high."""
    if not high > low:
        return np.array([low])
    raw = (high - low) / count
    power = 10 ** np.floor(np.log10(raw))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    return (first + np.arange(int((high - first * step) / step + 1e-9) + 1)) * step


def short(x: float, biggest: float) -> str:
    """A number on an axis whose largest is `biggest`: 200k, 1.5M, -1,250, 0.05."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if biggest >= 10 * size or (biggest >= size and unit != "k"):
            return f"{x / size:,.6g}{unit if x else ''}"
    return f"{x:,.6g}"
