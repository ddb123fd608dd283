"""The environments of a page, in JavaScript, are the trainer's: the same observations and rewards."""

import json
import shutil
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

import swingup.reports.html as html
from swingup.envs.registry import find
from swingup.reports.html.live import TWINS

NODE = shutil.which("node")
TWINS_JS = Path(html.__file__).parent / "twins.js"

# State in the trainer's fields -> the twin's.
STATES = {
    "native/Pendulum-v1": lambda s: {"angle": float(s.angle), "speed": float(s.speed)},
    "native/MountainCarContinuous-v0": lambda s: {"position": float(s.position), "speed": float(s.speed)},
    "native/PointMass-v0": lambda s: dict(
        zip(("x", "y", "vx", "vy"), map(float, (*s.position, *s.speed)), strict=True)
    ),
}
SCRIPT = """
const twins = require(process.argv[1]), [name, still, cases] = JSON.parse(process.argv[2]);
const out = cases.map(([state, action]) => {
  const [next, reward] = twins[name].step(state, action, still);
  return [twins[name].observe(next), reward, twins[name].over(next)];
});
console.log(JSON.stringify(out));
"""


def start(name, rng):
    """A random state of the trainer's environment, walls and the goal included."""
    state, _ = find(name).reset(jax.random.key(0))
    if name.endswith("Pendulum-v1"):
        return state._replace(angle=np.float32(rng.uniform(-3.2, 3.2)), speed=np.float32(rng.uniform(-8, 8)))
    if "Car" in name:
        speed = np.float32(rng.uniform(-0.07, 0.07))
        return state._replace(
            position=np.float32(rng.choice([-1.2, 0.44, rng.uniform(-1.2, 0.6)])), speed=speed
        )
    place = rng.choice([1.49, rng.uniform(-1.5, 1.5)], 2).astype(np.float32)
    return state._replace(position=place, speed=rng.uniform(-2, 2, 2).astype(np.float32))


@pytest.mark.skipif(not NODE, reason="no node here")
@pytest.mark.parametrize("name", STATES)
def test_a_step_of_a_twin_is_a_step_of_the_trainers(name):
    env, twin, rng = find(name), TWINS[name], np.random.default_rng(5)
    step = jax.jit(env.step)
    cases, wanted = [], []
    for _ in range(200):
        state, action = start(name, rng), rng.uniform(-1, 1, twin.actions).astype(np.float32)
        _, outcome = step(state, action)
        cases.append([STATES[name](state), (action * twin.bound).tolist()])
        wanted.append((outcome.obs, float(outcome.reward), bool(outcome.terminated)))
    still = [0, 0] if twin.actions > 1 else 0
    words = [NODE, "-e", SCRIPT, str(TWINS_JS), json.dumps([twin.name, still, cases])]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    for (obs, reward, over), (obs_, reward_, over_) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(obs, obs_, atol=1e-5)
        assert reward == pytest.approx(reward_, rel=1e-5, abs=1e-5)
        assert over == over_


@pytest.mark.parametrize("name", STATES)
def test_a_twin_has_the_sizes_and_bounds_of_its_environment(name):
    spec, twin = find(name).spec, TWINS[name]
    assert (spec.obs_size, spec.action_size) == (twin.obs_size, twin.actions)
    assert set(spec.high) == {twin.bound} == {-x for x in spec.low}
