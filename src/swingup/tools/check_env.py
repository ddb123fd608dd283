"""`swingup check-env`: what a run would find out about an environment, in seconds and without training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from swingup.envs.api import VectorEnv
from swingup.envs.closing import closing, failure
from swingup.envs.recipe import Recipe, make_eval_envs
from swingup.envs.remarks import Remarks
from swingup.envs.rendering import one_line, render_frame, rendering
from swingup.errors import EnvFault, InputError
from swingup.loops.evaluation import can_restore_episodes
from swingup.seeding import PREFLIGHT, episode_seed

# Beyond these a network's inputs or targets are on a scale that slows learning.
LARGE, SMALL = 10.0, 0.05
LARGE_REWARD = 100.0
# Steps a second below which stepping several environments in processes pays for the messages to them.
SLOW = 2_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its name, what was found, and whether a run can work with it."""

    name: str
    text: str
    fits: bool = True


@dataclass(frozen=True)
class Report:
    """What was found out about an environment, in the order in which it is said."""

    env: str
    findings: tuple[Finding, ...]

    @property
    def fits(self) -> bool:
        """Whether a run can be trained on the environment."""
        return all(finding.fits for finding in self.findings)


class Played(NamedTuple):
    """Random steps: obs[T, O], reward[T], the lengths of the episodes that ended, and steps a second."""

    obs: np.ndarray
    reward: np.ndarray
    lengths: list[int]
    speed: float


def check_env(recipe: Recipe, name: str, limit: int | None, seconds: float, seed: int = 0) -> Report:
    """Examine an environment for about so many seconds, with random actions.

    InputError if it cannot be made or DDPG cannot train on its spaces; what breaks its contract is a finding.
    """
    remarks = Remarks()
    started = time.monotonic()
    env = make_eval_envs(recipe, 1, name, limit, remarks)
    making = time.monotonic() - started
    findings = [Finding("spaces", spaces(env)), Finding("copies", copies(recipe, name, limit, making))]
    with closing(env):
        try:
            played = play(env, seconds, seed)
            findings += [Finding("contract", f"kept in {len(played.reward):,} random steps")]
            exact = can_restore_episodes(env, seed)
            findings += [Finding("seed", EXACT if exact else LOOSE), *scales(played)]
            findings += [Finding("episodes", episodes(env, played)), Finding("speed", speed(played.speed))]
        except EnvFault as fault:
            findings.append(Finding("contract", str(fault), fits=False))
    findings.append(Finding("pictures", pictures(recipe, name, seed)))
    said: list[str] = []
    remarks.said_with(said.append)
    return Report(name, (*findings, *(Finding("remark", text) for text in said)))


EXACT = "the same seed and actions give the same bits: an interrupted run goes on exactly"
LOOSE = (
    "the same seed and actions give other observations or rewards, so an interrupted run goes on with new "
    "episodes (episode-boundary); let reset(seed=...) seed all that is random"
)


def spaces(env: VectorEnv) -> str:
    """The sizes of observations and actions."""
    spec = env.spec
    ends = f"{min(spec.low):.6g} to {max(spec.high):.6g}"
    return f"{spec.obs_size} numbers are observed, {spec.action_size} are acted with, from {ends}"


def copies(recipe: Recipe, name: str, limit: int | None, making: float) -> str:
    """Whether there may be a second one, which evaluations need."""
    try:
        second = make_eval_envs(recipe, 1, name, limit)
    except InputError as error:
        return f"a second one cannot be made ({error}): use --eval-env same, or --eval-env none"
    with closing(second):
        return f"made in {making:.2g} s, and a second one beside it"


def play(env: VectorEnv, seconds: float, seed: int) -> Played:
    """Random steps for so many seconds; the time in the environment alone counts for its speed."""
    rng, until = np.random.default_rng(seed), time.monotonic() + seconds
    obs: list[np.ndarray] = []
    rewards: list[float] = []
    lengths: list[int] = []
    length, number, spent = 0, 0, 0.0
    seen = env.reset([int(episode_seed(seed, PREFLIGHT, 0, number))])
    while not rewards or time.monotonic() < until:
        obs.append(seen[0])
        action = rng.uniform(-1, 1, (1, env.spec.action_size)).astype(np.float32)
        before = time.perf_counter()
        step = env.step(action)
        spent += time.perf_counter() - before
        rewards.append(float(step.reward[0]))
        seen, length = step.obs, length + 1
        if step.terminated[0] or step.truncated[0]:
            lengths.append(length)
            length, number = 0, number + 1
            seen = env.reset([int(episode_seed(seed, PREFLIGHT, 0, number))])
    return Played(np.array(obs), np.array(rewards), lengths, len(rewards) / max(spent, 1e-9))


def scales(played: Played) -> Iterator[Finding]:
    """The scales of observations and rewards under random actions, with advice where they are unusual."""
    mean, std = np.abs(played.obs.mean(0)), played.obs.std(0)
    text = f"standard deviations {std.min():.3g} to {std.max():.3g}, means up to {mean.max():.3g}"
    if max(std.max(), mean.max()) > LARGE or 0 < std[std > 0].min(initial=1.0) < SMALL:
        text += ": use --normalize"
    if still := int((std == 0).sum()):
        text += f"; {still} of {len(std)} never changed"
    yield Finding("observations", text)
    reward = played.reward
    text = f"{reward.min():.4g} to {reward.max():.4g} a step"
    if np.abs(reward).max() > LARGE_REWARD:
        text += f": use --reward-scale {1 / np.abs(reward).max():.1g}"
    elif not reward.any():
        text += ": random actions never met one, and learning may not either; reward progress"
    yield Finding("rewards", text)


def episodes(env: VectorEnv, played: Played) -> str:
    """How long episodes are, and what ends them for certain."""
    lengths = played.lengths
    seen = f"{len(lengths)} ended, after {min(lengths):,} to {max(lengths):,} steps; " if lengths else ""
    if env.known_limit is not None:
        return f"{seen}the time limit is {env.known_limit:,} steps"
    if lengths:
        return f"{seen}no time limit is declared"
    return f"none ended in {len(played.reward):,} steps and no time limit is declared: use --episode-steps"


def speed(steps: float) -> str:
    """Steps a second, and whether processes of their own would pay."""
    if steps < SLOW:
        return f"{steps:,.0f} steps a second: --envs 4 --workers 4 steps four side by side, in processes"
    return f"{steps:,.0f} steps a second: faster than messages to other processes, leave --workers out"


def pictures(recipe: Recipe, name: str, seed: int) -> str:
    """Whether it can be filmed."""
    try:
        env = rendering(recipe.maker(render_mode="rgb_array"), "rgb_array", name)
    except (InputError, EnvFault) as error:
        return f"none ({one_line(error)})"
    try:
        env.reset(seed=seed)
        frame = np.asarray(render_frame(env, name))
        return f"{' x '.join(map(str, frame.shape[1::-1]))} pixels: swingup video works"
    except Exception as error:  # whatever its render raises, a run is possible
        return f"none ({one_line(error)})"
    finally:
        failure(env.close, 5.0)


def as_json(report: Report) -> dict[str, Any]:
    """A report as JSON values."""
    return {"env": report.env, "fits": report.fits, "findings": [asdict(f) for f in report.findings]}


def show(report: Report, console: Any) -> None:
    """Print a report, one finding a line."""
    from rich.markup import escape

    for finding in report.findings:
        mark = "" if finding.fits else "[bold]does not work:[/] "
        console.print(f"{finding.name:13} {mark}{escape(finding.text)}", soft_wrap=True)
    end = "swingup can train on it" if report.fits else "mend it first"
    console.print(f"{escape(report.env)}: {end}")
