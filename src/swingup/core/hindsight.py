"""Hindsight experience replay: transitions stored again, with a goal achieved later in their episode.

Andrychowicz et al., 1707.01495, strategy "future". A relabelled transition is one more row beside the row
that was collected, in a column of replay of its own, so replay, n-step returns and the update do not know it.
It is made `lag` time steps later, when its episode has ended whatever happens, so it is a function of the
newest `lag` rows and of (seed, column, time): there is nothing else to save.
"""

from __future__ import annotations

from dataclasses import dataclass

from swingup.seeding import HINDSIGHT, episode_seed
from swingup.types import Array, Layout


@dataclass(frozen=True)
class Hindsight:
    """How transitions are relabelled.

    relabel: R relabelled rows for each row; achieved, desired: the first index of either goal in an
    observation; size: the size G of a goal; limit: the most steps T of an episode; hold: time steps that
    share a goal. Rewards are summed over n steps, all of which need one goal: then hold is n, and `last`
    marks the last row of a block of n, behind which nothing is summed.
    """

    relabel: int
    achieved: int
    desired: int
    size: int
    limit: int
    hold: int = 1

    @property
    def copies(self) -> int:
        """Rows for each step of an environment: the row itself, then the relabelled ones."""
        return 1 + self.relabel

    def lag(self, block: int) -> int:
        """Time steps after which a row is relabelled: until then its episode has ended.

        The rows of a whole iteration of `block` steps depend on rows of earlier iterations alone.
        """
        return self.limit + block - 1


def choose_goals(h: Hindsight, last: Array, time: Array, seed: Array) -> tuple[Array, Array]:
    """Which goals the rows of time step `time` get, from last[T, N] of that step and of those after it.

    Returns ahead[N, R]: how many steps later the goal was achieved, uniform over the rest of the episode (of
    its part behind the block's end, where a block shares a goal); final[N]: whether the row is the last one
    with this goal.
    """
    xp = last.__array_namespace__()
    n, over = last.shape[1], last > 0
    end = xp.where(xp.any(over, axis=0), xp.argmax(over, axis=0), h.limit - 1)
    shared = xp.minimum(end, h.hold - 1 - time % h.hold)
    column = xp.reshape(xp.arange(n * h.relabel), (n, h.relabel))
    bits = episode_seed(seed, HINDSIGHT, column, time // h.hold).astype(end.dtype)
    return shared[:, None] + bits % (end - shared + 1)[:, None], shared == 0


def goal_of(h: Hindsight, layout: Layout, rows: Array) -> Array:
    """The goal[*, G] that the steps of rows[*, W] achieved."""
    return layout.unpack(rows).next_obs[..., h.achieved : h.achieved + h.size]


def relabel(
    h: Hindsight, layout: Layout, rows: Array, goal: Array, reward: Array, terminated: Array, final: Array
) -> Array:
    """rows[N, W] with the desired goal[N, R, G], and what that is worth: rows[N, R, W].

    reward[N, R], terminated[N, R] (None: as it was); final[N]: as in `choose_goals`.
    """
    xp = rows.__array_namespace__()
    t = layout.unpack(xp.broadcast_to(rows[:, None], (*goal.shape[:2], layout.width)))
    start, stop = h.desired, h.desired + h.size
    wanted = lambda obs: xp.concat([obs[..., :start], goal, obs[..., stop:]], axis=-1)
    discount = t.discount if terminated is None else 1 - terminated.astype(rows.dtype)
    last = xp.maximum(final[:, None].astype(rows.dtype), 1 - discount)
    return layout.pack(
        t._replace(
            obs=wanted(t.obs),
            next_obs=wanted(t.next_obs),
            reward=reward.astype(rows.dtype),
            discount=discount,
            last=last,
        )
    )


def unchanged(h: Hindsight, layout: Layout, rows: Array) -> Array:
    """rows[N, R, W] as they were, until the first ones can be relabelled; nothing is summed over them."""
    xp = rows.__array_namespace__()
    t = layout.unpack(xp.broadcast_to(rows[:, None], (len(rows), h.relabel, layout.width)))
    return layout.pack(t._replace(last=xp.ones_like(t.last)))


def beside(rows: Array, more: Array) -> Array:
    """rows[N, W] and more[N, R, W] as columns[N * (1 + R), W], those of an environment side by side."""
    xp = rows.__array_namespace__()
    return xp.concat([rows[:, None], more], axis=1).reshape(-1, rows.shape[-1])
