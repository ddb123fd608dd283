"""Diagnostics of training: figures from recent transitions and the learner, and named diagnoses of problems.

Computed in NumPy on the host, once per log interval: the compiled step pays nothing for it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from math import floor, log10
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from swingup.core.agent import BETA2, Agent, Learner, evaluated_critics, normalize_obs, target_networks
from swingup.core.engine import Plan
from swingup.core.heads import Categorical
from swingup.core.named_arrays import same_shapes
from swingup.core.noise import OrnsteinUhlenbeck
from swingup.core.schedules import Linear
from swingup.reports.inputs import Inputs
from swingup.types import Transition

# Recent transitions that the figures are computed from; fewer for dQ/da, at two passes per action dimension.
RECENT, FEW = 64, 16
# Intervals for which a symptom must last before it is reported: single ones are noise.
LASTING = 6
# How many pieces of advice a diagnosis prints.
PIECES = 3
# Typical sizes above which observations and rewards are too large to learn from as they are. In trials with
# rewards of 1e4 --reward-scale made no difference; with 1e6 it took the critic's error from 100 % to 73 %.
LARGE_OBS, LARGE_REWARD = 30.0, 1e4
# Observations whose largest values differ by more than this factor between dimensions.
UNEQUAL = 100.0


class Figures(NamedTuple):
    """What is logged each interval, in the units of learning (rewards times `reward_scale`).

    q_start, return_start: mean Q of the first state and action of the last finished episodes, and the mean of
    the discounted returns that followed; td_error: RMS; saturation: share of greedy actions at one and the
    same bound, of the action dimension where it is smallest (where one joint rests at its bound, the actor is
    not stuck); action_gradient: mean norm of dQ/da; critic_gradient, actor_gradient: RMS norm over about the
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
        h = plan.agent.history
        self.inputs = None if h is None else Inputs(h, plan.n)
        self.layout = plan.agent.layout if self.inputs is None else self.inputs.layout
        self.recent: deque[np.ndarray] = deque(maxlen=RECENT)
        self.finished: deque[Finished] = deque(maxlen=10)
        self.best = float("nan")  # the largest discounted return among them
        self.learnt = 0  # the number of episodes that ended after the warm-up
        self.ret, self.power = np.zeros(plan.n), np.ones(plan.n)
        self.start = np.zeros((plan.n, self.layout.width), np.float32)
        self.largest, self.highest, self.rewards = 0.0, -np.inf, set[float]()
        # Of the warm-up: transitions, and per observation dimension and for the reward (last) the sum of
        # squares and the largest size.
        self.count, self.squares = 0, np.zeros(plan.agent.layout.obs_size + 1)
        self.peaks = np.zeros_like(self.squares)
        self.lasting, self.reported = Counter[str](), set[str]()

    def add_rows(self, rows: np.ndarray) -> None:
        """Record the rows[K, N, W] of an iteration."""
        if self.count < self.plan.warmup:
            self.measure(self.agent.layout.unpack(rows.reshape(-1, rows.shape[-1])))
        if self.inputs is not None:
            rows = np.stack([self.inputs.widen(row) for row in rows])
        t = self.layout.unpack(rows)
        high, low = float(t.reward.max()), float(t.reward.min())
        self.largest, self.highest = max(self.largest, high, -low), max(self.highest, high)
        if len(self.rewards) < 2:
            self.rewards.update(t.reward.ravel().tolist())
        ended = t.last.any(1)
        for k, row in enumerate(rows):
            self.recent.extend(row[:RECENT])
            began = self.power == 1
            if began.any():
                self.start[began] = row[began]
            self.ret += self.power * t.reward[k]
            self.power *= self.agent.gamma
            if ended[k]:
                self.end_episodes(self.layout.unpack(row))

    def measure(self, t: Transition) -> None:
        """Add transitions (leading axis [B]) to the sizes of observations and rewards in the warm-up."""
        values = np.abs(np.column_stack([t.obs, t.reward]).astype(np.float64))
        self.count += len(values)
        self.squares += np.square(values).sum(0)
        self.peaks = np.maximum(self.peaks, values.max(0))

    @property
    def sizes(self) -> np.ndarray:
        """RMS of each observation dimension and, last, of the reward in the warm-up, [O + 1]."""
        return np.sqrt(self.squares / max(self.count, 1))

    def end_episodes(self, t: Transition) -> None:
        """Record the episodes that ended with the transitions of one time step (leading axis [N])."""
        self.learnt += int((t.last > 0).sum()) * (self.count >= self.plan.warmup)
        first = self.layout.unpack(self.start)
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
            "recent": np.array(self.recent, np.float32).reshape(-1, self.layout.width),
            **({} if self.inputs is None else self.inputs.state()),
            "ret": self.ret,
            "power": self.power,
            "start": self.start,
            "largest": np.array(self.largest),
            "highest": np.array(self.highest),
            "count": np.array(self.count),
            "learnt": np.array(self.learnt),
            "squares": self.squares,
            "peaks": self.peaks,
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
        if self.inputs is not None:
            self.inputs.restore(saved)
        self.ret, self.power, self.start = (saved[k].copy() for k in ("ret", "power", "start"))
        self.squares, self.peaks = saved["squares"].copy(), saved["peaks"].copy()
        self.count, self.learnt = int(saved["count"]), int(saved["learnt"])
        self.highest = float(saved["highest"])
        self.largest, self.rewards = float(saved["largest"]), set(saved["rewards"].tolist())
        self.lasting.update(dict(zip(RULES, saved["lasting"].tolist(), strict=True)))
        self.reported.update(
            name for name, reported in zip(RULES, saved["reported"], strict=True) if reported
        )

    @np.errstate(over="ignore", invalid="ignore")
    def figures(self, learner: Learner, step: int) -> Figures:
        """The current figures; learner: NumPy copies of the weights; step: environment steps done."""
        agent, rows = self.agent, self.layout.unpack(np.stack(self.recent))
        obs = normalize_obs(learner, rows.obs, agent.history)
        greedy = agent.actor.apply(learner.actor, obs)
        scale = agent.reward_scale or 1.0
        next_obs = normalize_obs(learner, rows.next_obs, agent.history)
        critics, (actor, targets) = evaluated_critics(learner), target_networks(learner)
        after = value(agent, targets, next_obs, agent.actor.apply(actor, next_obs))
        error = (
            scale * rows.reward
            + agent.gamma * rows.discount * after
            - value(agent, critics, obs, rows.action)
        )
        q, ret = self.starts(learner, scale)
        held = min(step, self.plan.capacity)
        return Figures(
            q_start=q,
            return_start=ret,
            td_error=rms(error),
            saturation=float(np.maximum((greedy > 0.99).mean(0), (greedy < -0.99).mean(0)).min()),
            action_gradient=slope(agent, critics, obs[-FEW:], greedy[-FEW:]),
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
        obs, end = (normalize_obs(learner, x, agent.history) for x in (obs, end))
        critics = evaluated_critics(learner)
        rest = value(agent, critics, end, agent.actor.apply(learner.actor, end))
        returns = scale * ret + discount * rest
        self.best = float(returns.max())
        return float(value(agent, critics, obs, action).mean()), float(returns.mean())

    def diagnoses(self, f: Figures, step: int) -> list[str]:
        """Problems that have lasted, each reported once, with settings to try that the run does not have."""
        out = []
        for name, rule in RULES.items():
            text = rule.find(f, self)
            self.lasting[name] = self.lasting[name] + 1 if text else 0
            if text and self.lasting[name] >= rule.lasting and name not in self.reported:
                self.reported.add(name)
                out.append(f"{name} (step {step:,}): {text}; {advise(rule, f, self)}")
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
    return (total / (1 - BETA2 ** max(int(adam.count), 1))) ** 0.5


def norm(tree: Any) -> float:
    """Euclidean norm of all leaves."""
    return float(np.sqrt(sum(float(np.square(x).sum()) for x in jax.tree.leaves(tree))))


def rms(x: np.ndarray) -> float:
    """Root mean square of all elements."""
    return float(np.sqrt(np.mean(np.square(x))))


# Advice: each returns a flag with its value, or "" where the run has it already or it does not apply.


def normalize(f: Figures, d: Diagnostics) -> str:
    """Normalised observations."""
    return "" if d.agent.normalize else "--normalize"


def layer_norm(f: Figures, d: Diagnostics) -> str:
    """Layer norm, which keeps the inputs of the last layers small."""
    return "" if getattr(d.agent.actor, "layer_norm", True) else "--layer-norm"


def early_action(f: Figures, d: Diagnostics) -> str:
    """The action at the critic's first layer."""
    return "" if getattr(d.agent.critic, "action_layer", 1) == 1 else "--action-layer 1"


def two_critics(f: Figures, d: Diagnostics) -> str:
    """The smaller of two critics' targets."""
    return "" if d.agent.critics > 1 else "--critics 2"


def clipped(f: Figures, d: Diagnostics) -> str:
    """Gradients of bounded norm."""
    return "" if d.agent.grad_clip is not None else "--grad-clip 1"


def slow_targets(f: Figures, d: Diagnostics) -> str:
    """Target networks that move more slowly."""
    return "" if d.agent.tau <= 1e-3 else f"--tau {max(d.agent.tau / 10, 1e-3):.2g}"


def slow_actor(f: Figures, d: Diagnostics) -> str:
    """A tenth of the actor's step size."""
    return lower("--actor-lr", d.agent.actor_lr)


def slow_critic(f: Figures, d: Diagnostics) -> str:
    """A tenth of the critic's step size."""
    return lower("--critic-lr", d.agent.critic_lr)


def lower(flag: str, rate: float | Linear) -> str:
    """A tenth of a step size, which is not lowered below 1e-5."""
    start = rate.start if isinstance(rate, Linear) else rate
    return f"{flag} {start / 10:.2g}" if isinstance(start, float) and start >= 1e-4 else ""


def small_rewards(f: Figures, d: Diagnostics) -> str:
    """Rewards that are scaled to a typical size of about 1."""
    scale, size = d.agent.reward_scale or 1.0, max(float(d.sizes[-1]), d.largest / 10)
    return f"--reward-scale {10.0 ** -floor(log10(size)):.2g}" if size * scale > LARGE_REWARD / 10 else ""


def drifting_noise(f: Figures, d: Diagnostics) -> str:
    """Correlated noise, which moves away from where each episode starts."""
    return "" if isinstance(d.agent.noise, OrnsteinUhlenbeck) else "--noise ou"


def strong_noise(f: Figures, d: Diagnostics) -> str:
    """Noise of about half the action range, or twice the present one."""
    sigma = getattr(d.agent.noise, "sigma", 0.0)
    now = float(np.max(sigma.start if isinstance(sigma, Linear) else sigma))
    return f"--sigma {max(0.5, 2 * now):.2g}" if now <= 1 else ""


def centred_range(f: Figures, d: Diagnostics) -> str:
    """A range of values that is centred at zero, where the critic begins.

    Where it began below the first policy's return, 4 of 30 pendulum runs were not solved, else none.
    """
    head = d.agent.head
    return f"--value-high {-head.low:g}" if isinstance(head, Categorical) and head.low + head.high < 0 else ""


def wide_range(f: Figures, d: Diagnostics) -> str:
    """A range of values around zero that holds the returns with as much again to spare."""
    reach = 2 * abs(f.return_start)
    return f"--value-low {-reach:.3g} --value-high {reach:.3g}"


# Rules: each returns what is wrong, or "" where it finds nothing.


def saturated(f: Figures, d: Diagnostics) -> str:
    """The greedy actions lie at one bound in nearly every state, in each of their dimensions."""
    return "" if f.saturation < 0.9 else f"{f.saturation:.0%} of actions at one bound whatever the state"


def exploding(f: Figures, d: Diagnostics) -> str:
    """Q is far above any return that the largest reward allows."""
    gamma, scale = d.agent.gamma, d.agent.reward_scale or 1.0
    bound = scale * d.largest / (1 - gamma) if gamma < 1 else np.inf
    if not abs(f.q_start) > 2 * bound > 0:
        return ""
    return f"Q says {f.q_start:,.4g}, but with rewards up to {d.largest:,.4g} no return exceeds {bound:,.4g}"


def overestimating(f: Figures, d: Diagnostics) -> str:
    """Q is above the best return of the last episodes."""
    # An improving policy may exceed the mean return of its past episodes, but hardly the best of them.
    # Q starts at zero: between zero and returns below it, it has not learnt them yet, as in healthy runs.
    # Nor are the returns of the warm-up's random actions what the policy may be expected to reach.
    if d.learnt < 5 or not f.q_start > max(d.best, 0.0) + 3 * f.td_error:
        return ""
    return f"Q promises {f.q_start:,.4g} on average where the best of ten episodes gave {d.best:,.4g}"


def uncovered(f: Figures, d: Diagnostics) -> str:
    """The discounted returns lie outside the range of a categorical critic."""
    head = d.agent.head
    if not isinstance(head, Categorical) or not (f.return_start < head.low or f.return_start > head.high):
        return ""
    return f"discounted returns are about {f.return_start:,.4g}, outside {head.low:,.4g} to {head.high:,.4g}"


def unmoved(f: Figures, d: Diagnostics) -> str:
    """The actor's gradient has vanished."""
    return "" if f.actor_gradient > 1e-9 else "the actor's gradient has vanished, so it no longer learns"


def unrewarded(f: Figures, d: Diagnostics) -> str:
    """Every reward so far was the same."""
    if len(d.rewards) != 1:
        return ""
    return f"every reward so far was {next(iter(d.rewards)):g}, so there is nothing to learn from"


def costs_alone(f: Figures, d: Diagnostics) -> str:
    """No reward was ever positive, the recent ones follow from the action alone, and the policy stands still.

    A pendulum at rest also has rewards below zero and small actions, but its rewards depend on the state.
    """
    t = d.agent.layout.unpack(np.stack(d.recent).astype(np.float64)) if d.recent else None
    if t is None or d.highest > 0 or len(d.rewards) < 2 or not f.noise_ratio > 1:
        return ""
    terms = np.column_stack([np.ones(len(t.action)), t.action, t.action**2, np.abs(t.action)])
    if 2 * terms.shape[1] > len(terms):
        return ""
    rest = t.reward - terms @ np.linalg.lstsq(terms, t.reward, rcond=None)[0]
    if rms(rest) > 1e-3 * rms(t.reward):
        return ""
    return "no reward was met but the cost of acting, so the policy learns to stand still"


def frozen(f: Figures, d: Diagnostics) -> str:
    """Adam's second moments of the critic are infinite, so that every step is zero, for ever."""
    if np.isfinite(f.critic_gradient):
        return ""
    return f"squared gradients overflowed (rewards up to {d.largest:,.4g}), so the critic stands still"


def unscaled(f: Figures, d: Diagnostics) -> str:
    """Observations in the warm-up were large, or of very different sizes, and are not normalised."""
    size, peaks = float(d.sizes[:-1].max(initial=0.0)), d.peaks[:-1][d.peaks[:-1] > 0]
    if d.agent.normalize or not d.count:
        return ""
    if size > LARGE_OBS:
        return f"a typical observation is {size:,.4g} in size, where networks expect about 1"
    if len(peaks) and peaks.max() > UNEQUAL * peaks.min():
        return f"observations reach {peaks.max():.3g} in one dimension and {peaks.min():.3g} in another"
    return ""


def large_rewards(f: Figures, d: Diagnostics) -> str:
    """Rewards in the warm-up were so large that the critic takes long to reach their returns."""
    size, scale = float(d.sizes[-1]), d.agent.reward_scale or 1.0
    return f"a typical reward is {size:,.4g} in size" if size * scale > LARGE_REWARD else ""


Find = Callable[[Figures, Diagnostics], str]


class Rule(NamedTuple):
    """find: what is wrong; advice: what to try, in this order; lasting: for how many intervals it is found;
    tried: whether the order is that of what helped in trials (tests/reports/test_advice.py);
    luck: whether another seed may be spared the problem."""

    find: Find
    advice: tuple[Find, ...]
    lasting: int = LASTING
    tried: bool = False
    luck: bool = False


def advise(rule: Rule, f: Figures, d: Diagnostics) -> str:
    """The first PIECES of advice that the run does not follow yet."""
    flags = [flag for flag in (advice(f, d) for advice in rule.advice) if flag][:PIECES]
    if not flags:
        return "the settings that could help are all set; try another --seed"
    order = "in the order of what helped in trials, " if rule.tried and len(flags) > 1 else ""
    return f"try {order}{', then '.join(flags)}{', or another --seed' * rule.luck}"


RULES: dict[str, Rule] = {
    "actor saturated": Rule(
        # On raw units --normalize alone brought the share from 100 % to 16 %, the two after it alone nothing.
        saturated,
        (normalize, centred_range, slow_actor, layer_norm, early_action),
        tried=True,
        luck=True,
    ),
    # With --critic-lr 0.03 and --tau 1, Q of 4e9 became -8.9 with a tenth of either, -60 with --grad-clip 1,
    # and still 2e9 with --critics 2. The true value was about -9.
    "values explode": Rule(exploding, (slow_critic, slow_targets, clipped, two_critics), tried=True),
    # Six action dimensions that only cost, noisy rewards, four updates a step: Q of 97 where the best episode
    # gave 4 became -1.4 with --critics 2, 0.3 with a tenth of the critic's step size, 1.6 with that of --tau.
    "critic overestimates": Rule(overestimating, (two_critics, slow_critic, slow_targets), tried=True),
    "range too narrow": Rule(uncovered, (wide_range,)),
    # Observations of 1e8: with --normalize alone the task was learnt, with --layer-norm alone the gradient
    # came back but the actor stayed saturated, with a tenth of its step size nothing changed.
    "actor stands still": Rule(unmoved, (normalize, layer_norm, slow_actor), tried=True, luck=True),
    "no reward signal": Rule(unrewarded, (drifting_noise, strong_noise), luck=True),
    # With --noise ou alone the best return went from 0 to 3,996, with --sigma 0.5 alone nothing changed.
    "only action costs": Rule(costs_alone, (drifting_noise, strong_noise), tried=True, luck=True),
    # Facts, not symptoms: found once is enough.
    "critic stands still": Rule(frozen, (small_rewards,), 1),
    "observations unscaled": Rule(unscaled, (normalize,), 1),
    "rewards large": Rule(large_rewards, (small_rewards,), 1),
}
