"""Prioritised replay (Schaul et al., 1511.05952): transitions are drawn in proportion to how much they surprised.

A wide sum tree: leaves are priorities, every node above is the sum of its WIDTH children. Sums are computed anew, never
corrected by differences, so they cannot drift. Drawing and changing cost O(log capacity): two levels more from a thousand to a million.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Children of a node: a level costs one gather of this many neighbours, and a million leaves need four levels.
WIDTH = 32


class Tree(NamedTuple):
    """levels[0][C'] priorities (padded with zeros), levels[k] the sums of WIDTH nodes below; largest[]: the largest so far."""

    levels: tuple[jax.Array, ...]
    largest: jax.Array


@dataclass(frozen=True)
class Priority:
    """alpha: how much priorities matter (0 is uniform); beta: how much importance weights correct for them (1 is fully)."""

    alpha: float = 0.6
    beta: float = 0.4
    floor: float = 1e-6

    def rank(self, surprise):
        """The priority of a loss."""
        return (surprise + self.floor) ** self.alpha

    def weigh(self, tree: Tree, place, held):
        """Importance weights of drawn places[*] among `held` candidates, the largest of them 1 (equation in section 3.4)."""
        share = tree.levels[0][place] / tree.levels[-1][0]
        weight = (held * jnp.maximum(share, 1e-12)) ** -self.beta
        return weight / jnp.max(weight, -1, keepdims=True)


def init(capacity: int) -> Tree:
    """A tree over so many places, all of priority zero."""
    size, levels = capacity, []
    while True:
        size = -(-size // WIDTH) * WIDTH if size > 1 else 1
        levels.append(jnp.zeros(size))
        if size == 1:
            return Tree(tuple(levels), jnp.float32(1))
        size = size // WIDTH


def assign(tree: Tree, place, priority) -> Tree:
    """Set the priorities of places[K] and every sum above them; of equal places the last counts."""
    levels = [tree.levels[0].at[place].set(priority)]
    for above in tree.levels[1:]:
        place = place // WIDTH
        children = levels[-1][place[:, None] * WIDTH + jnp.arange(WIDTH)]
        levels.append(above.at[place].set(jnp.sum(children, 1)))
    return Tree(tuple(levels), jnp.maximum(tree.largest, jnp.max(priority)))


def draw(tree: Tree, key, shape: tuple[int, ...]):
    """Places[*shape], each with probability priority / total; the total must be positive."""
    place = jnp.zeros(shape, jnp.int32)
    rest = jax.random.uniform(key, shape) * tree.levels[-1][0]
    for below in tree.levels[-2::-1]:
        children = below[place[..., None] * WIDTH + jnp.arange(WIDTH)]
        ends = jnp.cumsum(children, -1)
        # Rounding may leave `rest` at or beyond the last end: stay among the children that have a share.
        last = WIDTH - 1 - jnp.argmax(children[..., ::-1] > 0, -1)
        child = jnp.minimum(jnp.sum(rest[..., None] >= ends, -1), last)
        rest = rest - jnp.take_along_axis(ends - children, child[..., None], -1)[..., 0]
        place = place * WIDTH + child
    return place
