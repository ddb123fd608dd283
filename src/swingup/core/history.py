"""The last observations and actions as the networks' input, for environments that do not show their state.

Replay holds each transition once: a sample's past is gathered from the rows before it, as n-step returns are
from the rows behind it. While acting, the past is kept beside the noise (`Past`). Both pad alike: before an
episode's start its first observation stood still, and the actions were 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from swingup.core.running_statistics import RunningStatistics
    from swingup.types import Array, Layout, Transition


class Past(NamedTuple):
    """What N environments have observed and done: obs[N, K - 1, O], action[N, K - 1, A], the oldest first."""

    obs: Array
    action: Array


@dataclass(frozen=True)
class History:
    """An input of K observations and the K - 1 actions between them; O and A are the sizes of one."""

    length: int
    obs_size: int
    action_size: int

    @property
    def before(self) -> int:
        """Rows that a sample needs before its own, K - 1."""
        return self.length - 1

    @property
    def size(self) -> int:
        """The length of an input: observations, then actions, the oldest first."""
        return self.length * self.obs_size + self.before * self.action_size

    def widen(self, statistics: RunningStatistics) -> RunningStatistics:
        """The statistics of an input, from those of observations[O]; actions stay as they are."""
        xp = statistics.mean.__array_namespace__()
        actions = xp.zeros(self.before * self.action_size, dtype=statistics.mean.dtype)
        return statistics._replace(
            mean=xp.concat([xp.tile(statistics.mean, self.length), actions]),
            m2=xp.concat([xp.tile(statistics.m2, self.length), actions + statistics.total]),
        )


def no_past(h: History, obs: Array) -> Past:
    """The past of environments whose first observations are obs[N, O]."""
    xp = obs.__array_namespace__()
    still = xp.broadcast_to(obs[:, None], (len(obs), h.before, h.obs_size))
    return Past(still, xp.zeros((len(obs), h.before, h.action_size), dtype=obs.dtype))


def begin(h: History, past: Past, obs: Array, first: Array) -> Past:
    """The past at obs[N, O], where first[N] marks environments that begin an episode with it."""
    xp = obs.__array_namespace__()
    fresh, here = no_past(h, obs), (first > 0)[:, None, None]
    return Past(*(xp.where(here, new, old) for new, old in zip(fresh, past, strict=True)))


def stack(past: Past, obs: Array) -> Array:
    """The input[*, size] at obs[*, O]."""
    xp, lead = obs.__array_namespace__(), obs.shape[:-1]
    older, actions = (x.reshape(*lead, -1) for x in past)
    return xp.concat([older, obs, actions], axis=-1)


def push(past: Past, obs: Array, action: Array) -> Past:
    """The past after action[N, A] at obs[N, O]."""
    xp = obs.__array_namespace__()
    return Past(
        xp.concat([past.obs[:, 1:], obs[:, None]], axis=1),
        xp.concat([past.action[:, 1:], action[:, None]], axis=1),
    )


def padded(past: Past, last: Array, obs: Array) -> Past:
    """The past[*, K - 1, ...] of obs[*, O] from rows of replay, which may belong to earlier episodes.

    last[*, K - 1]: where the rows end an episode.
    """
    xp, count = obs.__array_namespace__(), last.shape[-1]
    # Rows up to the newest that ends an episode are of earlier ones.
    over = xp.flip(xp.cumulative_sum(xp.flip(last > 0, axis=-1).astype(xp.int32), axis=-1), axis=-1) > 0
    begun = xp.sum(over.astype(xp.int32), axis=-1)
    every = xp.concat([past.obs, obs[..., None, :]], axis=-2)
    at = xp.maximum(xp.arange(count), begun[..., None])
    older = xp.take_along_axis(every, at[..., None], axis=-2)
    return Past(older, xp.where(over[..., None], 0, past.action))


def with_past(h: History, layout: Layout, rows: Array, batch: Transition, steps: Array) -> Transition:
    """A batch[*] whose observations are inputs, from the sampled rows[*, K - 1 + n, W].

    batch: of the last n rows, without a past; steps[*]: how many of them were summed.
    """
    xp, t, b = rows.__array_namespace__(), layout.unpack(rows), h.before
    before = Past(t.obs[..., :b, :], t.action[..., :b, :])
    obs = stack(padded(before, t.last[..., :b], batch.obs), batch.obs)
    at = steps[..., None] + xp.arange(b)  # the rows before next_obs; the last one leads to it
    older, actions = (xp.take_along_axis(x, at[..., None], axis=-2) for x in (t.obs, t.action))
    ended = xp.take_along_axis(t.last, at, axis=-1) * (xp.arange(b) < b - 1)
    next_obs = stack(padded(Past(older, actions), ended, batch.next_obs), batch.next_obs)
    return batch._replace(obs=obs, next_obs=next_obs)
