"""Charts as SVG inside a page; their colours are the page's, for light and dark and print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from swingup.reports.curves import Curve, short, ticks

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 10, 40


@dataclass(frozen=True)
class Drawn:
    """A curve and how it is drawn: its colour's number (-1: grey), as a line or as dots, faint or not."""

    curve: Curve
    colour: int = 0
    dots: bool = False
    faint: bool = False


class Axes:
    """The map from values to the picture."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]):
        self.x, self.y = x, y

    def across(self, x: np.ndarray) -> np.ndarray:
        low, high = self.x
        return LEFT + (np.asarray(x, float) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(self, y: np.ndarray) -> np.ndarray:
        low, high = self.y
        return HEIGHT - BOTTOM - (np.asarray(y, float) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def path(self, x: np.ndarray, y: np.ndarray) -> str:
        """The path of a line, with a gap where a value is missing."""
        words, pen = [], "M"
        for a, b in zip(self.across(x), self.up(y), strict=True):
            if np.isfinite(b):
                words.append(f"{pen}{a:.1f} {b:.1f}")
                pen = "L"
            else:
                pen = "M"
        return "".join(words)


def chart(
    drawn: Sequence[Drawn],
    x_label: str,
    y_label: str,
    levels: Mapping[str, float] | None = None,
) -> str:
    """Curves over x as a figure with a legend; levels: labelled horizontal lines."""
    values = [v for d in drawn for v in (d.curve.y, d.curve.low, d.curve.high) if v is not None]
    y = limits([*values, np.array(list((levels or {}).values()), float)])
    x = limits([d.curve.x for d in drawn], 0.0)
    axes = Axes(x, y)
    parts = [frame(axes, x_label, y_label)]
    for name, level in (levels or {}).items():
        at = float(axes.up(np.array(level)))
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(words(name, WIDTH - RIGHT, at - 4, "end", "note"))
    parts += [mark(axes, d) for d in drawn]
    said = f"{y_label} over {x_label}: " + ", ".join(d.curve.name for d in drawn if d.curve.name)
    return f"<figure>{legend(drawn)}{svg(parts, said)}</figure>"


def mark(axes: Axes, d: Drawn) -> str:
    """One curve, its band below it."""
    c, kind = d.curve, f"c{d.colour}" if d.colour >= 0 else "grey"
    if d.dots:
        spots = zip(axes.across(c.x), axes.up(c.y), strict=True)
        path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in spots if np.isfinite(b))
        return f'<path class="dots {kind}" d="{path}"/>'
    band = ""
    if c.low is not None and c.high is not None and len(c.x) > 1:
        there = np.isfinite(c.low) & np.isfinite(c.high)
        around = np.concatenate([c.x[there], c.x[there][::-1]])
        ends = np.concatenate([c.low[there], c.high[there][::-1]])
        band = f'<path class="band {kind}" d="{axes.path(around, ends)}Z"/>' if there.any() else ""
    if len(c.x) == 1:
        return point(axes, c, kind)
    faint = " faint" if d.faint else ""
    return f'{band}<path class="line {kind}{faint}" d="{axes.path(c.x, c.y)}"/>'


def point(axes: Axes, c: Curve, kind: str) -> str:
    """A curve of one point: a dot, and its interval as a line."""
    [x], [y] = axes.across(c.x), axes.up(c.y)
    dot = f'<path class="dots big {kind}" d="M{x:.1f} {y:.1f}h0"/>' if np.isfinite(y) else ""
    if c.low is None or c.high is None or not np.isfinite([c.low[0], c.high[0]]).all():
        return dot
    low, high = axes.up(np.array([c.low[0], c.high[0]]))
    return f'<path class="line {kind}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>{dot}'


def histogram(
    groups: Mapping[str, np.ndarray], x_label: str, y_label: str, ends: tuple[float, float] | None = None
) -> str:
    """How often values lie where, as bars; a colour for each named group, one above the other."""
    everything = np.concatenate([np.asarray(v, float).ravel() for v in groups.values()])
    low, high = ends or limits([everything], 0.0)
    count = int(np.clip(np.sqrt(len(everything)) * 1.2, 8, 30))
    edges = np.linspace(low, high, count + 1)
    heights = [np.histogram(v, edges)[0] for v in groups.values()]
    axes = Axes((low, high), (0.0, max(float(np.sum(heights, 0).max()), 1.0) * 1.05))
    parts, below = [frame(axes, x_label, y_label)], np.zeros(count)
    across = axes.across(edges)
    for k, tall in enumerate(heights):
        bottom, top = axes.up(below), axes.up(below + tall)
        bars = "".join(
            f"M{a + 0.5:.1f} {b:.1f}V{t:.1f}H{z - 0.5:.1f}V{b:.1f}Z"
            for a, z, b, t, n in zip(across, across[1:], bottom, top, tall, strict=False)
            if n
        )
        parts.append(f'<path class="bar c{k % 6}" d="{bars}"/>')
        below = below + tall
    drawn = [Drawn(Curve(name, edges, edges), k % 6) for k, name in enumerate(groups) if len(groups) > 1]
    said = f"{y_label} by {x_label}, from {everything.min():.4g} to {everything.max():.4g}"
    return f"<figure>{legend(drawn)}{svg(parts, said)}</figure>"


def limits(values: Sequence[np.ndarray], margin: float = 0.05) -> tuple[float, float]:
    """The range of all values that are numbers, a margin added; never empty."""
    flat = np.concatenate([np.asarray(v, float).ravel() for v in values])
    flat = flat[np.isfinite(flat)]
    low, high = (float(flat.min()), float(flat.max())) if len(flat) else (0.0, 1.0)
    room = (high - low) * margin
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        room = max(abs(low) * 0.05, 0.5)
    return low - room, high + room


def frame(axes: Axes, x_label: str, y_label: str) -> str:
    """Grid, numbers and names of both axes."""
    parts, biggest = [], max(map(abs, axes.y))
    for value in ticks(*axes.y):
        at = float(axes.up(value))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(words(short(value, biggest), LEFT - 6, at + 4, "end"))
    biggest = max(map(abs, axes.x))
    for value in ticks(*axes.x, 4):
        parts.append(words(short(value, biggest), float(axes.across(value)), HEIGHT - BOTTOM + 17))
    parts.append(words(x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5))
    middle = f"translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"
    parts.append(f'<g transform="{middle}">{words(y_label, 0, 0)}</g>')
    return "".join(parts)


def words(text: str, x: float, y: float, anchor: str = "middle", kind: str = "") -> str:
    """Text at a place of the picture."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def legend(drawn: Sequence[Drawn]) -> str:
    """The names of the curves and of their intervals, each with its colour."""
    items = []
    for d in drawn:
        kind = f"c{d.colour}" if d.colour >= 0 else "grey"
        if d.curve.name:
            shape = "spot" if d.dots else "dash"
            items.append(f'<span><i class="{shape} {kind}"></i>{escape(d.curve.name)}</span>')
        if d.curve.band:
            items.append(f'<span><i class="area {kind}"></i>{escape(d.curve.band)}</span>')
    return f"<figcaption>{''.join(items)}</figcaption>" if items else ""


def svg(parts: Sequence[str], said: str) -> str:
    """The picture; said: what it shows, for those who do not see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">{"".join(parts)}</svg>'
    )
