"""Diagnostics of training: figures from recent transitions and the learner, and named diagnoses of problems.

Computed in NumPy on the host, once per log interval: the compiled step pays nothing for it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from swingup.core.agent import Agent, Learner, normalize_obs
from swingup.core.engine import Plan
from swingup.core.heads import Categorical
from swingup.core.named_arrays import same_shapes
from swingup.types import Transition

# Recent transitions that the figures are computed from; fewer for dQ/da, at two passes per action dimension.
RECENT, FEW = 64, 16
# Intervals for which a symptom must last before it is reported: single ones are noise.
LASTING = 6


class Figures(NamedTuple):
    """What is logged each interval, in the units of learning (rewards times `reward_scale`).

    q_start, return_start: mean Q of the first state and action of the last finished episodes, and the mean of
    the discounted returns that followed; td_error: RMS; saturation: share of greedy actions at one and the
    same bound; action_gradient: mean norm of dQ/da; critic_gradient, actor_gradient: RMS norm over about the
    last thousand updates (from Adam's second moments); critic_norm, actor_norm: of the parameters;
    noise_ratio: RMS of executed minus greedy action over RMS of the greedy one; replay_age: mean age of the
    transitions in replay, in environment steps.
    """

    q_start: float
    return_start: float
    td_error: float
    saturation: float
    action_gradient: float
    critic_gradient: float
    actor_gradient: float
    critic_norm: float
    actor_norm: float
    noise_ratio: float
    replay_age: float


class Finished(NamedTuple):
    """A finished episode: first observation and action, discounted return, and for bootstrapping the discount
    at its end (0 where it terminated) and the last observation."""

    obs: np.ndarray
    action: np.ndarray
    ret: float
    discount: float
    end: np.ndarray


class Diagnostics:
    """`add_rows` records rows, `figures` summarises them, `diagnoses` names each lasting problem once."""

    def __init__(self, plan: Plan):
        self.plan, self.agent = plan, plan.agent
        self.recent: deque[np.ndarray] = deque(maxlen=RECENT)
        self.finished: deque[Finished] = deque(maxlen=10)
        self.best = float("nan")  # the largest discounted return among them
        self.ret, self.power = np.zeros(plan.n), np.ones(plan.n)
        self.start = np.zeros((plan.n, plan.agent.layout.width), np.float32)
        self.largest, self.rewards = 0.0, set[float]()
        self.lasting, self.reported = Counter[str](), set[str]()

    def add_rows(self, rows: np.ndarray) -> None:
        """Record the rows[K, N, W] of an iteration."""
        for row in rows:
            self.recent.extend(row[:RECENT])
            t = self.agent.layout.unpack(row)
            began = self.power == 1
            self.start[began] = row[began]
            self.ret += self.power * t.reward
            self.power *= self.agent.gamma
            self.largest = max(self.largest, float(np.abs(t.reward).max()))
            if len(self.rewards) < 2:
                self.rewards.update(t.reward.tolist())
            if t.last.any():
                self.end_episodes(t)

    def end_episodes(self, t: Transition) -> None:
        """Record the episodes that ended with the transitions of one time step (leading axis [N])."""
        first = self.agent.layout.unpack(self.start)
        for i in np.flatnonzero(t.last):
            left = float(self.power[i] * t.discount[i])
            self.finished.append(
                Finished(first.obs[i].copy(), first.action[i].copy(), float(self.ret[i]), left, t.next_obs[i])
            )
        self.ret[t.last > 0], self.power[t.last > 0] = 0, 1

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs, as arrays by name."""
        finished = zip(*self.finished, strict=True) if self.finished else ((),) * 5
        return {
            **{
                f"finished.{k}": np.array(v, np.float64)
                for k, v in zip(Finished._fields, finished, strict=True)
            },
            "recent": np.array(self.recent, np.float32).reshape(-1, self.agent.layout.width),
            "ret": self.ret,
            "power": self.power,
            "start": self.start,
            "largest": np.array(self.largest),
            "rewards": np.array(sorted(self.rewards), np.float64),
            "lasting": np.array([self.lasting[name] for name in RULES]),
            "reported": np.array([name in self.reported for name in RULES]),
        }

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned; ValueError or KeyError where it is not such a state."""
        fixed = {name: array for name, array in self.state().items() if not name.startswith("finished.")}
        same_shapes(saved, fixed, growing=("recent", "rewards"))
        finished = zip(*(saved[f"finished.{k}"] for k in Finished._fields), strict=True)
        self.finished.extend(
            Finished(
                obs.astype(np.float32),
                action.astype(np.float32),
                float(ret),
                float(left),
                end.astype(np.float32),
            )
            for obs, action, ret, left, end in finished
        )
        self.recent.extend(saved["recent"])
        self.ret, self.power, self.start = (saved[k].copy() for k in ("ret", "power", "start"))
        self.largest, self.rewards = float(saved["largest"]), set(saved["rewards"].tolist())
        self.lasting.update(dict(zip(RULES, saved["lasting"].tolist(), strict=True)))
        self.reported.update(
            name for name, reported in zip(RULES, saved["reported"], strict=True) if reported
        )

    def figures(self, learner: Learner, step: int) -> Figures:
        """The current figures; learner: NumPy copies of the weights; step: environment steps done."""
        agent, rows = self.agent, self.agent.layout.unpack(np.stack(self.recent))
        obs = normalize_obs(learner, rows.obs)
        greedy = agent.actor.apply(learner.actor, obs)
        scale = agent.reward_scale or 1.0
        next_obs = normalize_obs(learner, rows.next_obs)
        after = value(
            agent, learner.target_critic, next_obs, agent.actor.apply(learner.target_actor, next_obs)
        )
        error = (
            scale * rows.reward
            + agent.gamma * rows.discount * after
            - value(agent, learner.critic, obs, rows.action)
        )
        q, ret = self.starts(learner, scale)
        held = min(step, self.plan.capacity)
        return Figures(
            q_start=q,
            return_start=ret,
            td_error=rms(error),
            saturation=float(max((greedy > 0.99).mean(0).max(), (greedy < -0.99).mean(0).max())),
            action_gradient=slope(agent, learner.critic, obs[-FEW:], greedy[-FEW:]),
            critic_gradient=gradient(learner.critic_opt),
            actor_gradient=gradient(learner.actor_opt),
            critic_norm=norm(learner.critic),
            actor_norm=norm(learner.actor),
            noise_ratio=rms(rows.action - greedy) / max(rms(greedy), 1e-9),
            replay_age=held / 2,
        )

    def starts(self, learner: Learner, scale: float) -> tuple[float, float]:
        """Mean Q at the starts of the finished episodes, and their mean return, bootstrapped if truncated."""
        if not self.finished:
            return float("nan"), float("nan")
        agent = self.agent
        obs, action, ret, discount, end = (np.stack(x) for x in zip(*self.finished, strict=True))
        end = normalize_obs(learner, end)
        rest = value(agent, learner.critic, end, agent.actor.apply(learner.actor, end))
        returns = scale * ret + discount * rest
        self.best = float(returns.max())
        return float(value(agent, learner.critic, normalize_obs(learner, obs), action).mean()), float(
            returns.mean()
        )

    def diagnoses(self, f: Figures, step: int) -> list[str]:
        """Problems that have lasted for LASTING intervals, each reported once, with what to try."""
        out = []
        for name, rule in RULES.items():
            text = rule(f, self)
            self.lasting[name] = self.lasting[name] + 1 if text else 0
            if text and self.lasting[name] >= LASTING and name not in self.reported:
                self.reported.add(name)
                out.append(f"{name} (step {step:,}): {text}")
        return out


def value(agent: Agent, critics: Any, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Q[B] of the first critic, for obs[B, O] and action[B, A]."""
    first = jax.tree.map(lambda x: x[0], critics)
    return agent.head.value(agent.critic.apply(first, obs, action))


def slope(agent: Agent, critics: Any, obs: np.ndarray, action: np.ndarray) -> float:
    """Mean norm of dQ/da, by central differences in double precision."""
    step = 1e-4
    critics = jax.tree.map(lambda x: x.astype(np.float64), critics)
    up, down = (
        np.stack([value(agent, critics, obs, action + s * step * unit) for unit in np.eye(action.shape[-1])])
        for s in (1, -1)
    )
    return float(np.linalg.norm((up - down) / (2 * step), axis=0).mean())


def gradient(opt: Any) -> float:
    """RMS norm of the recent gradients: the root of the sum of Adam's bias-corrected second moments."""
    adam = optax.tree.get(opt, "ScaleByAdamState")
    total = sum(float(x.sum()) for x in jax.tree.leaves(adam.nu))
    return (total / (1 - 0.999 ** max(int(adam.count), 1))) ** 0.5


def norm(tree: Any) -> float:
    """Euclidean norm of all leaves."""
    return float(np.sqrt(sum(float(np.square(x).sum()) for x in jax.tree.leaves(tree))))


def rms(x: np.ndarray) -> float:
    """Root mean square of all elements."""
    return float(np.sqrt(np.mean(np.square(x))))


# Rules: each returns what is wrong and what to try, or "" where it finds nothing.


def saturated(f: Figures, diagnostics: Diagnostics) -> str:
    """The greedy actions lie at one bound in nearly every state."""
    if f.saturation < 0.9:
        return ""
    # Where the critic's initial Q was below the first policy's return, 4 of 30 pendulum runs were not solved;
    # with a value range centred at zero all were.
    head, centred = diagnostics.agent.head, ""
    if isinstance(head, Categorical) and head.low + head.high < 0:
        centred = f"--value-high {-head.low:g}, so that the critic begins at zero, "
    return (
        f"{f.saturation:.0%} of actions at one bound whatever the state; try {centred}--action-layer 1, "
        "wider --hidden, a lower --actor-lr or a smaller --reward-scale"
    )


def exploding(f: Figures, diagnostics: Diagnostics) -> str:
    """Q is far above any return that the largest reward allows."""
    gamma, scale = diagnostics.agent.gamma, diagnostics.agent.reward_scale or 1.0
    bound = scale * diagnostics.largest / (1 - gamma) if gamma < 1 else np.inf
    if not abs(f.q_start) > 2 * bound > 0:
        return ""
    return (
        f"Q says {f.q_start:,.4g}, but with rewards up to {diagnostics.largest:,.4g} no return exceeds "
        f"{bound:,.4g}; try --critics 2, a lower --critic-lr, a smaller --tau or --grad-clip 1"
    )


def overestimating(f: Figures, diagnostics: Diagnostics) -> str:
    """Q is above the best return of the last episodes."""
    # An improving policy may exceed the mean return of its past episodes, but hardly the best of them.
    if len(diagnostics.finished) < 5 or not f.q_start > diagnostics.best + 3 * f.td_error:
        return ""
    return (
        f"Q promises {f.q_start:,.4g} on average where the best of ten episodes gave {diagnostics.best:,.4g}"
        "; try --critics 2 (as TD3), or a lower --critic-lr"
    )


def uncovered(f: Figures, diagnostics: Diagnostics) -> str:
    """The discounted returns lie outside the range of a categorical critic."""
    head = diagnostics.agent.head
    if not isinstance(head, Categorical) or not (f.return_start < head.low or f.return_start > head.high):
        return ""
    return (
        f"discounted returns are about {f.return_start:,.4g}, outside {head.low:,.4g} to {head.high:,.4g}; "
        "widen --value-low and --value-high, or lower --reward-scale"
    )


def unmoved(f: Figures, diagnostics: Diagnostics) -> str:
    """The actor's gradient has vanished."""
    if f.actor_gradient > 1e-9:
        return ""
    return (
        "the actor's gradient has vanished, so it no longer learns; try a lower --actor-lr, --layer-norm or "
        "another --seed"
    )


def unrewarded(f: Figures, diagnostics: Diagnostics) -> str:
    """Every reward so far was the same."""
    if len(diagnostics.rewards) != 1:
        return ""
    (reward,) = diagnostics.rewards
    return (
        f"every reward so far was {reward:g}, so there is nothing to learn from; explore more: --noise ou, "
        "a larger --sigma"
    )


RULES: dict[str, Callable[[Figures, Diagnostics], str]] = {
    "actor saturated": saturated,
    "values explode": exploding,
    "critic overestimates": overestimating,
    "range too narrow": uncovered,
    "actor stands still": unmoved,
    "no reward signal": unrewarded,
}
