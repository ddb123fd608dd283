"""Is training healthy? Figures from recent transitions and from the learner's own numbers, and a named diagnosis where they are bad.

Computed in NumPy on the host, once an interval: the compiled step pays nothing for it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from swingup.core.agent import Agent, Learner, see
from swingup.core.engine import Plan
from swingup.core.heads import Categorical
from swingup.types import Transition

# Recent transitions that the figures are taken from; fewer for the one that costs two passes per action.
RECENT, FEW = 64, 16
# Intervals that a sign must last before it is spoken of: single ones are noise.
LASTING = 6


class Figures(NamedTuple):
    """What is logged each interval, in the units of learning (rewards times `reward_scale`).

    q_start, return_start: Q of the first state and action of the last finished episodes, and the discounted return that
    followed; td_error: RMS; saturation: share of greedy actions at one and the same bound; action_gradient: mean norm of
    dQ/da; critic_gradient, actor_gradient: RMS norm over about the last thousand updates (from Adam's second moments);
    critic_norm, actor_norm: of the parameters; noise_ratio: RMS of executed minus greedy action over RMS of the greedy one;
    replay_age: mean age of what replay holds, in environment steps.
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
    """A finished episode from its start: first observation and action, discounted return, and what it still counts for:
    the discount at its end (0 where it terminated) and the last observation."""

    obs: np.ndarray
    action: np.ndarray
    ret: float
    discount: float
    end: np.ndarray


class Health:
    """Looks on: `tick` takes note of rows, `figures` sums up, `diagnoses` names what has been wrong for a while, once."""

    def __init__(self, plan: Plan):
        self.plan, self.agent = plan, plan.agent
        self.recent: deque[np.ndarray] = deque(maxlen=RECENT)
        self.finished: deque[Finished] = deque(maxlen=10)
        self.best = float("nan")  # the largest return among those
        self.ret, self.power = np.zeros(plan.n), np.ones(plan.n)
        self.start = np.zeros((plan.n, plan.agent.layout.width), np.float32)
        self.largest, self.rewards = 0.0, set[float]()
        self.lasting, self.told = Counter[str](), set[str]()

    def tick(self, rows: np.ndarray) -> None:
        """Take note of rows[K, N, W], fresh from the collector."""
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
                self.finish(t)

    def finish(self, t: Transition) -> None:
        first = self.agent.layout.unpack(self.start)
        for i in np.flatnonzero(t.last):
            left = float(self.power[i] * t.discount[i])
            self.finished.append(Finished(first.obs[i].copy(), first.action[i].copy(), float(self.ret[i]), left, t.next_obs[i]))
        self.ret[t.last > 0], self.power[t.last > 0] = 0, 1

    def saved(self) -> dict[str, np.ndarray]:
        """What it remembers, as arrays."""
        finished = zip(*self.finished, strict=True) if self.finished else ((),) * 5
        return {
            **{f"finished.{k}": np.array(v, np.float64) for k, v in zip(Finished._fields, finished, strict=True)},
            "recent": np.array(self.recent, np.float32).reshape(-1, self.agent.layout.width),
            "ret": self.ret,
            "power": self.power,
            "start": self.start,
            "largest": np.array(self.largest),
            "rewards": np.array(sorted(self.rewards), np.float64),
            "lasting": np.array([self.lasting[name] for name in RULES]),
            "told": np.array([name in self.told for name in RULES]),
        }

    def resume(self, saved: dict[str, np.ndarray]) -> None:
        """Remember what was saved."""
        finished = zip(*(saved[f"finished.{k}"] for k in Finished._fields), strict=True)
        self.finished.extend(
            Finished(obs.astype(np.float32), action.astype(np.float32), float(ret), float(left), end.astype(np.float32))
            for obs, action, ret, left, end in finished
        )
        self.recent.extend(saved["recent"])
        self.ret, self.power, self.start = (saved[k].copy() for k in ("ret", "power", "start"))
        self.largest, self.rewards = float(saved["largest"]), set(saved["rewards"].tolist())
        self.lasting.update(dict(zip(RULES, saved["lasting"].tolist(), strict=True)))
        self.told.update(name for name, told in zip(RULES, saved["told"], strict=True) if told)

    def figures(self, learner: Learner, step: int) -> Figures:
        """The figures of now; learner: NumPy copies of the weights; step: environment steps done."""
        agent, rows = self.agent, self.agent.layout.unpack(np.stack(self.recent))
        obs = see(learner, rows.obs)
        greedy = agent.actor.apply(learner.actor, obs)
        scale = agent.reward_scale or 1.0
        next_obs = see(learner, rows.next_obs)
        after = value(agent, learner.target_critic, next_obs, agent.actor.apply(learner.target_actor, next_obs))
        error = scale * rows.reward + agent.gamma * rows.discount * after - value(agent, learner.critic, obs, rows.action)
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
        """Mean Q at the start of the finished episodes, and their mean discounted return, bootstrapped where they were cut."""
        if not self.finished:
            return float("nan"), float("nan")
        agent = self.agent
        obs, action, ret, discount, end = (np.stack(x) for x in zip(*self.finished, strict=True))
        end = see(learner, end)
        rest = value(agent, learner.critic, end, agent.actor.apply(learner.actor, end))
        returns = scale * ret + discount * rest
        self.best = float(returns.max())
        return float(value(agent, learner.critic, see(learner, obs), action).mean()), float(returns.mean())

    def diagnoses(self, f: Figures, step: int) -> list[str]:
        """What has been wrong for LASTING intervals, each told once, with what to try."""
        out = []
        for name, rule in RULES.items():
            text = rule(f, self)
            self.lasting[name] = self.lasting[name] + 1 if text else 0
            if text and self.lasting[name] >= LASTING and name not in self.told:
                self.told.add(name)
                out.append(f"{name} (step {step:,}): {text}")
        return out


def value(agent: Agent, critics: Any, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Q[B] of the first critic."""
    first = jax.tree.map(lambda x: x[0], critics)
    return agent.head.value(agent.critic.apply(first, obs, action))


def slope(agent: Agent, critics: Any, obs: np.ndarray, action: np.ndarray) -> float:
    """Mean norm of dQ/da, by central differences in double precision."""
    step = 1e-4
    critics = jax.tree.map(lambda x: x.astype(np.float64), critics)
    up, down = (
        np.stack([value(agent, critics, obs, action + s * step * unit) for unit in np.eye(action.shape[-1])]) for s in (1, -1)
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
    return float(np.sqrt(np.mean(np.square(x))))


def saturated(f: Figures, health: Health) -> str:
    if f.saturation < 0.9:
        return ""
    # A critic that begins below what a first policy gets: of thirty pendulums four were not solved, with a range around zero all were.
    head, centred = health.agent.head, ""
    if isinstance(head, Categorical) and head.low + head.high < 0:
        centred = f"--value-high {-head.low:g}, so that the critic begins at zero, "
    return (
        f"{f.saturation:.0%} of actions at one bound whatever the state; try {centred}--action-layer 1, wider --hidden, a lower "
        "--actor-lr or a smaller --reward-scale"
    )


def exploding(f: Figures, health: Health) -> str:
    gamma, scale = health.agent.gamma, health.agent.reward_scale or 1.0
    bound = scale * health.largest / (1 - gamma) if gamma < 1 else np.inf
    if not abs(f.q_start) > 2 * bound > 0:
        return ""
    return (
        f"Q says {f.q_start:,.4g}, but with rewards up to {health.largest:,.4g} no return exceeds {bound:,.4g}; "
        "try --critics 2, a lower --critic-lr, a smaller --tau or --grad-clip 1"
    )


def overestimating(f: Figures, health: Health) -> str:
    # A policy that improves deserves more than its past episodes gave on average, but hardly more than the best of them.
    if len(health.finished) < 5 or not f.q_start > health.best + 3 * f.td_error:
        return ""
    return (
        f"Q promises {f.q_start:,.4g} on average where the best of ten episodes gave {health.best:,.4g}; try --critics 2 (as TD3), "
        "or a lower --critic-lr"
    )


def uncovered(f: Figures, health: Health) -> str:
    head = health.agent.head
    if not isinstance(head, Categorical) or not (f.return_start < head.low or f.return_start > head.high):
        return ""
    return (
        f"discounted returns are about {f.return_start:,.4g}, outside {head.low:,.4g} to {head.high:,.4g}; widen --value-low and "
        "--value-high, or lower --reward-scale"
    )


def unmoved(f: Figures, health: Health) -> str:
    if f.actor_gradient > 1e-9:
        return ""
    return "the actor's gradient has vanished, so it no longer learns; try a lower --actor-lr, --layer-norm or another --seed"


def unrewarded(f: Figures, health: Health) -> str:
    if len(health.rewards) != 1:
        return ""
    (reward,) = health.rewards
    return f"every reward so far was {reward:g}, so there is nothing to learn from; explore more: --noise ou, a larger --sigma"


RULES: dict[str, Callable[[Figures, Health], str]] = {
    "actor saturated": saturated,
    "values explode": exploding,
    "critic overestimates": overestimating,
    "range too narrow": uncovered,
    "actor stands still": unmoved,
    "no reward signal": unrewarded,
}
