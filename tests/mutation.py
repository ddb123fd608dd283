"""Forty possible mistakes, and whether the fast suite notices them: `python tests/mutation.py [name ...]`.

Each is one replaced text in a copy of the package. The tests nearest to it run first, the rest of the suite
only if those pass. Exit 0 if 90 % are caught.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENOUGH = 0.9
LIMIT = 1800  # seconds for one run of pytest; a mistake that makes a test hang is noticed too
# What a mistake has to survive, the quickest first.
SUITE = [
    f"{name}.py"
    for name in (
        "core/test_networks", "core/test_replay_buffer", "core/test_agent", "envs/test_gym_env",
        "loops/test_host", "loops/test_probes", "core/test_options",
    )
]  # fmt: skip


class Mutant(NamedTuple):
    """A mistake: `old`, which occurs once in `file`, becomes `new`; tests: should notice it, run first."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


REFERENCE = ("core/test_agent.py::test_a_thousand_updates_equal_the_reference",)
N_STEP = (
    "core/test_replay_buffer.py::test_gamma_enters_once",
    "core/test_options.py::test_n_step_returns_equal_a_loop",
)
WINDOWS = ("core/test_options.py::test_windows_never_cross_the_head_or_mix_environments",)
RING = ("core/test_replay_buffer.py::test_the_ring_holds_what_a_list_would",)
PROJECTION = ("core/test_options.py::test_the_projection_shares_a_value_between_its_neighbours",)
NORMALIZED = ("core/test_options.py::test_normalisation_makes_learning_blind_to_units",)
KEYS = ("core/test_options.py::test_no_two_draws_share_a_key",)
RANKED = ("core/test_options.py::test_priorities_follow_the_losses_and_what_is_new_gets_the_largest",)
STORED = ("loops/test_host.py::test_rows_hold_the_true_successor_and_the_right_discount",)

MUTANTS = [
    # The update.
    Mutant(
        "the actor descends",
        "core/agent",
        "return -jnp.mean(jax.vmap(value)",
        "return jnp.mean(jax.vmap(value)",
        REFERENCE,
    ),
    Mutant(
        "targets have a gradient",
        "core/agent",
        "jax.lax.stop_gradient(target)",
        "target",
        ("core/test_agent.py::test_targets_get_no_gradient_and_the_actor_gets_one",),
    ),
    Mutant(
        "targets by the online critic",
        "core/agent",
        "ensemble(agent, learner.target_critic, batch.next_obs, action, kept)",
        "ensemble(agent, learner.critic, batch.next_obs, action, kept)",
        REFERENCE,
    ),
    Mutant(
        "the actor has the critic's rate",
        "core/agent",
        "adam = optimizer(agent.actor_lr, None, agent.grad_clip)",
        "adam = optimizer(agent.critic_lr, None, agent.grad_clip)",
        REFERENCE,
    ),
    Mutant(
        "tau is the share that stays",
        "core/pytrees",
        "a + rate * (v - a)",
        "v + rate * (a - v)",
        ("core/test_agent.py::test_targets_begin_as_copies_and_follow_by_tau",),
    ),
    # What the descendants add.
    Mutant(
        "the largest critic counts",
        "core/agent",
        "jnp.argmin(q, 0)",
        "jnp.argmax(q, 0)",
        ("core/test_options.py::test_the_least_of_the_critics_targets_counts",),
    ),
    Mutant(
        "all critics begin alike",
        "core/agent",
        "jax.random.split(critic_key, agent.critics)",
        "jnp.stack([critic_key] * agent.critics)",
        ("core/test_options.py::test_critics_begin_apart_and_the_actor_follows_the_first",),
    ),
    Mutant(
        "the actor moves at every critic step",
        "core/agent",
        "            steps.append(step)\n        learner, (policy_loss, actor_ok) = actor_step(",
        "            steps.append(step)\n            learner, (policy_loss, actor_ok) = actor_step(",
        ("core/test_options.py::test_a_delayed_actor_moves_once_for_d_critic_steps",),
    ),
    Mutant(
        "smoothing is not cut",
        "core/agent",
        "jnp.clip(offset, -self.clip, self.clip)",
        "offset",
        ("core/test_options.py::test_smoothing_moves_the_targets_action_by_at_most_its_clip",),
    ),
    Mutant(
        "critic steps share their smoothing",
        "core/agent",
        "jax.random.fold_in(key, d)",
        "key",
        ("core/test_options.py::test_each_critic_step_has_smoothing_of_its_own",),
    ),
    Mutant(
        "weights grow instead of decaying",
        "core/agent",
        "optax.add_decayed_weights(decay)",
        "optax.add_decayed_weights(-decay)",
        ("core/test_options.py::test_weight_decay_clipping_and_schedules_do_what_they_say",),
    ),
    Mutant(
        "the actor sees raw observations",
        "core/agent",
        "behaviour.actor, normalize_obs(behaviour, obs, agent.history)",
        "behaviour.actor, obs",
        NORMALIZED,
    ),
    # The engine's step.
    Mutant(
        "next_obs is not normalised",
        "core/engine",
        "next_obs=algorithm.normalize_obs(learner, batches.next_obs, agent.history)",
        "next_obs=batches.next_obs",
        NORMALIZED,
    ),
    Mutant(
        "the warm-up is one too long",
        "core/engine",
        "max(-(-self.warmup // self.rows), 1) - 1",
        "max(-(-self.warmup // self.rows), 1)",
        ("loops/test_host.py::test_the_first_update_follows_the_warmup_th_transition",),
    ),
    Mutant(
        "unfinished windows have a priority",
        "core/engine",
        "(time + wait < k) & (added + time >= 0)",
        "added + time >= 0",
        ("core/test_options.py::test_only_whole_windows_have_a_priority[3]",),
    ),
    Mutant(
        "priorities stay as they began",
        "core/engine",
        "plan.priority.rank(losses)",
        "jnp.repeat(tree.largest, index.size)",
        RANKED,
    ),
    Mutant(
        "sampling and smoothing share keys",
        "core/engine",
        '("sample", "smooth")',
        '("sample", "sample")',
        KEYS,
    ),
    Mutant(
        "actions share a key",
        "core/engine",
        "noise=moved, step=actors.step + 1), obs, action), action\n\n\ndef random_action",
        "noise=moved), obs, action), action\n\n\ndef random_action",
        KEYS,
    ),
    Mutant(
        "streams overlap",
        "core/pytrees",
        "jax.random.fold_in(key, STREAMS[name]), iteration)",
        "key, STREAMS[name] + iteration)",
        KEYS,
    ),
    Mutant(
        "noise is not told of an episode's end",
        "loops/host",
        "last = self.plan.agent.layout.unpack(rows[-1, :: self.plan.copies]).last",
        "last = np.zeros(self.plan.n, np.float32)",
        ("loops/test_host.py::test_noise_is_told_of_each_episodes_end",),
    ),
    # Replay.
    Mutant(
        "a full ring keeps overwriting its end",
        "core/replay_buffer",
        "at = (replay.added % c,",
        "at = (jnp.minimum(replay.added, c - k),",
        RING,
    ),
    Mutant(
        "windows cross the head", "core/replay_buffer", "jnp.maximum(held - n_step + 1, 1)", "held", WINDOWS
    ),
    Mutant(
        "a full ring begins at place 0",
        "core/replay_buffer",
        "(pick + (replay.added - held) % c * n) % (c * n)",
        "pick",
        WINDOWS,
    ),
    Mutant(
        "gamma is multiplied in twice",
        "core/replay_buffer",
        "gamma * powers[m] * end.discount",
        "gamma**2 * powers[m] * end.discount",
        N_STEP,
    ),
    Mutant(
        "the last step is not discounted",
        "core/replay_buffer",
        "gamma * powers[m] * end.discount",
        "powers[m] * end.discount",
        N_STEP,
    ),
    Mutant(
        "rewards are summed past a time limit",
        "core/replay_buffer",
        "still_going(steps.last)",
        "still_going(1 - steps.discount)",
        N_STEP,
    ),
    Mutant(
        "the scale of rewards is put on the discount",
        "core/replay_buffer",
        "* end.discount,",
        "* end.discount * (reward_scale or 1),",
        N_STEP,
    ),
    # Heads, noise, priorities, moments, networks.
    Mutant(
        "the projection's neighbours are swapped",
        "core/heads",
        "jnp.clip(1 - distance / gap, 0, 1)",
        "jnp.where(distance < gap, distance / gap, 0)",
        PROJECTION,
    ),
    Mutant(
        "Ornstein-Uhlenbeck ignores dt",
        "core/noise",
        "math.exp(-self.theta * self.dt)",
        "math.exp(-self.theta)",
        ("core/test_options.py::test_ou_noise_of_a_short_step",),
    ),
    Mutant(
        "drifting noise goes on in the next episode",
        "core/noise",
        "(1 - first)[:, None]",
        "jnp.ones_like(first)[:, None]",
        ("loops/test_host.py::test_noise_restarts_with_the_episode",),
    ),
    Mutant(
        "pink noise begins at zero",
        "core/noise",
        "first[:, None, None] > 0, fresh,",
        "first[:, None, None] > 0, 0 * fresh,",
        ("core/test_options.py::test_pink_noise_begins_afresh_with_its_full_spread",),
    ),
    Mutant(
        "importance weights are inverted",
        "core/prioritized",
        "** -self.beta",
        "** self.beta",
        ("core/test_options.py::test_importance_weights_undo_the_preference",),
    ),
    Mutant(
        "the largest priority is forgotten",
        "core/prioritized",
        "jnp.maximum(tree.largest, jnp.max(priority))",
        "tree.largest",
        RANKED,
    ),
    Mutant(
        "variance forgets the means' distance",
        "core/running_statistics",
        " + xp.square(delta) * statistics.total * n / count",
        "",
        ("core/test_options.py::test_moments_are_those_of_all_observations_and_normalise",),
    ),
    Mutant(
        "fan-in without the action",
        "core/networks",
        "last, fan = i == len(sizes) - 2, inputs + joins",
        "last, fan = i == len(sizes) - 2, inputs",
        ("core/test_networks.py::test_the_papers_initial_weights",),
    ),
    # The boundary to the environments.
    Mutant(
        "the action's bounds are swapped",
        "types",
        "low / 2 * (1 - action) + high / 2 * (1 + action)",
        "high / 2 * (1 - action) + low / 2 * (1 + action)",
        ("envs/test_gym_env.py::test_the_action_map_stays_in_the_box_and_inverts",),
    ),
    Mutant(
        "values go through terminal states", "loops/collector", "~step.terminated, last", "1, last", STORED
    ),
    Mutant("values stop at a time limit", "loops/collector", "~step.terminated, last", "~last, last", STORED),
    Mutant(
        "next_obs is the next episode's first",
        "loops/collector",
        "self.obs = np.where(last[:, None], self.begin_episodes(last), step.obs)",
        "self.obs = row.next_obs[:] = np.where(last[:, None], self.begin_episodes(last), step.obs)",
        STORED,
    ),
    Mutant(
        "one episode's end changes the neighbours' observations",
        "loops/collector",
        "self.obs = np.where(last[:, None], self.begin_episodes(last), step.obs)",
        "self.obs = self.begin_episodes(last)",
        ("envs/test_gym_env.py::test_an_episodes_end_leaves_the_neighbour_alone",),
    ),
]


def path(copy: Path, mutant: Mutant) -> Path:
    return copy / "src" / "swingup" / f"{mutant.file}.py"


def stale(copy: Path) -> list[str]:
    """What is wrong with the list itself: a mutant must name exactly one place of today's code."""
    counts = [(m, path(copy, m).read_text().count(m.old)) for m in MUTANTS]
    return [f"{m.name}: {m.file}.py has its text {n} times" for m, n in counts if n != 1]


def environment(copy: Path) -> dict[str, str]:
    # A mutated file may have the size and second of the sound one, so no bytecode is kept.
    return os.environ | {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}


def wins(copy: Path) -> bool:
    """Whether the copy is imported, rather than what is installed."""
    command = [sys.executable, "-c", "import swingup; print(swingup.__file__)"]
    found = subprocess.run(
        command, cwd=copy, env=environment(copy), capture_output=True, text=True, check=True
    ).stdout.strip()
    return Path(found).resolve().is_relative_to(copy.resolve())


def failed(copy: Path, tests) -> str:
    """The first of tests that fails, or nothing; an error where pytest could not run them."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=copy / "tests", env=environment(copy), capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return f"no end after {LIMIT} s"
    if done.returncode not in (0, 1):
        raise SystemExit(
            f"pytest could not run {' '.join(tests)}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
        )
    name = re.search(r"^FAILED \S+?::([^\s\[]+)", done.stdout, re.M)
    return (name[1] if name else "an error") if done.returncode else ""


def caught(copy: Path, mutant: Mutant) -> str:
    """The test that notices the mutant, or nothing. The copy is whole again afterwards."""
    file = path(copy, mutant)
    sound = file.read_text()
    file.write_text(sound.replace(mutant.old, mutant.new))
    try:
        return failed(copy, mutant.tests) or failed(copy, SUITE)
    finally:
        file.write_text(sound)


def survey(copy: Path, mutants: list[Mutant]) -> float:
    """Try each, print the table; the share caught."""
    began, count = time.monotonic(), 0
    for mutant in mutants:
        by = caught(copy, mutant)
        count += bool(by)
        print(f"{'caught' if by else 'SURVIVED':9}{mutant.file:9}{mutant.name:56}{by}", flush=True)
    share = count / len(mutants)
    print(f"{count} of {len(mutants)} caught, {share:.1%}, in {time.monotonic() - began:.0f} s")
    return share


def main(names: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("src", "tests", "faultcases"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        mutants = [m for m in MUTANTS if not names or m.name in names]
        problems = stale(copy) + [
            f"there is no mutant {n!r}" for n in names if n not in {m.name for m in MUTANTS}
        ]
        if problems or not wins(copy):
            print("\n".join(problems) or "the installed package hides the copy")
            return 2
        # Tests that fail without a mistake would catch anything.
        if broken := failed(copy, sorted({t for m in mutants for t in m.tests})):
            print(f"without a mistake: {broken} fails")
            return 2
        return 0 if survey(copy, mutants) >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
