"""Prioritised replay (Schaul et al., 1511.05952): a transition's probability grows with its last loss.

Priorities are the leaves of a wide sum tree; every node above is the sum of its WIDTH children. Sums are
recomputed, never corrected by differences, so rounding errors do not accumulate. Sampling and assigning cost
O(log capacity): two levels more from a thousand to a million.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Children of a node: a level costs one gather of this many neighbours; a million leaves need four levels.
WIDTH = 32


class Tree(NamedTuple):
    """The sum tree of priorities.

    levels[0][C']: zero-padded priorities; levels[k]: sums of WIDTH nodes below; largest[]: largest so far.
    """

    levels: tuple[jax.Array, ...]
    largest: jax.Array


@dataclass(frozen=True)
class Priority:
    """How priorities and importance weights are computed.

    alpha: exponent of priorities (0 is uniform); beta: exponent of importance weights (1 corrects fully);
    floor: added to losses, so that every transition can be sampled.
    """

    alpha: float = 0.6
    beta: float = 0.4
    floor: float = 1e-6

    def rank(self, per_sample_loss):
        """The priorities of per_sample_loss[*]: (loss + floor)^alpha."""
        return (per_sample_loss + self.floor) ** self.alpha

    def weigh(self, tree: Tree, index, held):
        """Importance weights of sampled indices[*] among `held` transitions, the largest 1 (section 3.4)."""
        share = tree.levels[0][index] / tree.levels[-1][0]
        weight = (held * jnp.maximum(share, 1e-12)) ** -self.beta
        return weight / jnp.max(weight, -1, keepdims=True)


def init(capacity: int) -> Tree:
    """A tree of `capacity` priorities, all zero."""
    size, levels = capacity, []
    while True:
        size = -(-size // WIDTH) * WIDTH if size > 1 else 1
        levels.append(jnp.zeros(size))
        if size == 1:
            return Tree(tuple(levels), jnp.float32(1))
        size = size // WIDTH


def assign(tree: Tree, index, priority) -> Tree:
    """Set the priorities of index[K] and every sum above them; of equal indices the last counts."""
    levels = [tree.levels[0].at[index].set(priority)]
    for above in tree.levels[1:]:
        index = index // WIDTH
        children = levels[-1][index[:, None] * WIDTH + jnp.arange(WIDTH)]
        levels.append(above.at[index].set(jnp.sum(children, 1)))
    return Tree(tuple(levels), jnp.maximum(tree.largest, jnp.max(priority)))


def sample_indices(tree: Tree, key, shape: tuple[int, ...]):
    """Indices[*shape] of transitions, each with probability priority / total; the total must be positive."""
    index = jnp.zeros(shape, jnp.int32)
    rest = jax.random.uniform(key, shape) * tree.levels[-1][0]
    for below in tree.levels[-2::-1]:
        children = below[index[..., None] * WIDTH + jnp.arange(WIDTH)]
        ends = jnp.cumsum(children, -1)
        # Rounding may leave `rest` at or beyond the last end: take at most the last child that is not 0.
        last = WIDTH - 1 - jnp.argmax(children[..., ::-1] > 0, -1)
        child = jnp.minimum(jnp.sum(rest[..., None] >= ends, -1), last)
        rest = rest - jnp.take_along_axis(ends - children, child[..., None], -1)[..., 0]
        index = index * WIDTH + child
    return index
