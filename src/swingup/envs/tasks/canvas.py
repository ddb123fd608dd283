"""Anti-aliased drawing with NumPy alone: shapes are signed distances, and pixels are blended by coverage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np

Point = Sequence[float] | np.ndarray
Colour = tuple[float, float, float]  # red, green, blue, 0 to 255

PAPER, INK, SHADE, GREY = (250, 248, 244), (48, 52, 63), (226, 223, 216), (150, 152, 158)
BLUE, RED, GOLD, GREEN = (45, 108, 178), (214, 79, 62), (238, 175, 48), (88, 150, 92)


class Canvas:
    """A picture of width x height pixels; positions and lengths are in world units, y upwards.

    scale: pixels per unit; centre: the point in the middle of the picture. Later shapes cover earlier ones.
    """

    def __init__(
        self, width: int, height: int, scale: float, centre: Point = (0.0, 0.0), colour: Colour = PAPER
    ):
        self.scale = scale
        self.x = ((np.arange(width) + 0.5 - width / 2) / scale + centre[0]).astype(np.float32)
        self.y = ((height / 2 - 0.5 - np.arange(height)) / scale + centre[1]).astype(np.float32)
        self.pixels = np.full((height, width, 3), colour, np.float32)

    def paint(
        self, shape: Callable, box: Sequence[float], colour: Colour, soft: float = 1.0, opacity: float = 1.0
    ) -> None:
        """Fill where the signed distance shape(x[w], y[h, 1]) -> [h, w] is negative.

        box: left, bottom, right, top of the shape; soft: pixels over which its edge fades, more than 1 for a
        shadow.
        """
        margin = soft / self.scale
        columns = slice(*np.searchsorted(self.x, (box[0] - margin, box[2] + margin)))
        rows = slice(*np.searchsorted(-self.y, (-box[3] - margin, margin - box[1])))
        distance = shape(self.x[columns], self.y[rows, None])
        cover = opacity * np.clip(0.5 - distance * (self.scale / soft), 0, 1)[..., None]
        part = self.pixels[rows, columns]
        part += cover * (np.asarray(colour, np.float32) - part)

    def disc(
        self, centre: Point, radius: float, colour: Colour, soft: float = 1.0, opacity: float = 1.0
    ) -> None:
        """A filled circle."""
        self.rod(centre, centre, radius, colour, soft, opacity)

    def rod(
        self, a: Point, b: Point, radius: float, colour: Colour, soft: float = 1.0, opacity: float = 1.0
    ) -> None:
        """A line from a to b, 2 radius wide, with round ends."""
        u, v = b[0] - a[0], b[1] - a[1]

        def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            along = np.clip(((x - a[0]) * u + (y - a[1]) * v) / (u * u + v * v + 1e-12), 0, 1)
            return np.hypot(x - a[0] - along * u, y - a[1] - along * v) - radius

        self.paint(distance, bounds([a, b], radius), colour, soft, opacity)

    def ring(self, centre: Point, radius: float, width: float, colour: Colour, opacity: float = 1.0) -> None:
        """The outline of a circle, `width` wide."""
        distance = lambda x, y: abs(np.hypot(x - centre[0], y - centre[1]) - radius) - width / 2
        self.paint(distance, bounds([centre], radius + width), colour, opacity=opacity)

    def arc(
        self, centre: Point, radius: float, start: float, turn: float, width: float, colour: Colour
    ) -> None:
        """An arc from the angle `start` over `turn` (radians from the x axis, counterclockwise)."""
        ends = [on_circle(centre, radius, start), on_circle(centre, radius, start + turn)]

        def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            u, v = x - centre[0], y - centre[1]
            off = abs((np.arctan2(v, u) - start - turn / 2 + np.pi) % (2 * np.pi) - np.pi)
            beyond = np.minimum(*(np.hypot(x - p[0], y - p[1]) for p in ends))
            return np.where(off <= abs(turn) / 2, abs(np.hypot(u, v) - radius), beyond) - width / 2

        self.paint(distance, bounds([centre], radius + width), colour)

    def whirl(
        self, centre: Point, radius: float, start: float, turn: float, width: float, colour: Colour
    ) -> None:
        """An arrow along an arc."""
        size, end = 4 * width, start + turn
        ahead = end + np.copysign(np.pi / 2, turn)
        self.arc(centre, radius, start, turn, width, colour)
        # The head leans inwards, as the arc that it continues curves inwards.
        lean = ahead + np.copysign(size / radius / 3, turn)
        self.head(on_circle(on_circle(centre, radius, end), 0.7 * size, lean), lean, size, colour)

    def polygon(
        self, corners: Sequence[Point], colour: Colour, soft: float = 1.0, opacity: float = 1.0
    ) -> None:
        """A convex polygon, its corners counterclockwise."""
        edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))

        def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            sides = [
                ((x - a[0]) * (b[1] - a[1]) - (y - a[1]) * (b[0] - a[0])) / np.hypot(b[0] - a[0], b[1] - a[1])
                for a, b in edges
            ]
            return np.maximum.reduce(sides)

        self.paint(distance, bounds(corners, 0), colour, soft, opacity)

    def head(self, tip: Point, angle: float, size: float, colour: Colour) -> None:
        """An arrowhead whose tip points along `angle`, in radians from the x axis."""
        self.polygon(
            [tip, *(on_circle(tip, size, angle + turn) for turn in (np.pi - 0.5, np.pi + 0.5))], colour
        )

    def arrow(self, a: Point, b: Point, width: float, colour: Colour) -> None:
        """An arrow from a to b; one shorter than half its head is not drawn."""
        u, v = b[0] - a[0], b[1] - a[1]
        length, size = np.hypot(u, v), 4 * width
        if length > size / 2:
            neck = max(length - 0.8 * size, 0) / length
            self.rod(a, (a[0] + neck * u, a[1] + neck * v), width / 2, colour)
            self.head(b, np.arctan2(v, u), size, colour)

    def copy(self) -> Canvas:
        """A copy with pixels of its own."""
        other = copy(self)
        other.pixels = self.pixels.copy()
        return other

    def image(self) -> np.ndarray:
        """The picture, uint8 [height, width, 3]."""
        return np.rint(self.pixels).astype(np.uint8)


def on_circle(centre: Point, radius: float, angle: float) -> tuple[float, float]:
    """The point of a circle at `angle`, in radians from the x axis."""
    return centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)


def bounds(points: Sequence[Point], margin: float) -> tuple[float, float, float, float]:
    """The smallest box around the points, `margin` wider on every side: left, bottom, right, top."""
    corners = np.array([tuple(p) for p in points])
    (left, bottom), (right, top) = corners.min(0), corners.max(0)
    return left - margin, bottom - margin, right + margin, top + margin
