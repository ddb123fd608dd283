"""The README's promises: its command learns the pendulum, and the presets run on their environments."""

import numpy as np
import pytest

import swingup


@pytest.mark.slow
def test_the_pendulum_is_solved_by_the_plain_command(tmp_path):
    run = swingup.train("Pendulum-v1", run_dir=tmp_path / "run", quiet=True)
    assert run.result["episodes"] == 100
    assert run.result["mean"] >= -200
    assert run.evaluations["mean"].max() >= -200


@pytest.mark.slow
def test_the_pendulum_is_solved_on_four_of_five_seeds(tmp_path):
    means = [
        swingup.train("Pendulum-v1", seed=s, run_dir=tmp_path / str(s), quiet=True).result["mean"]
        for s in range(5)
    ]
    assert np.sum(np.array(means) >= -200) >= 4, means
    assert np.mean(means) >= -180, means


@pytest.mark.parametrize("env", ["HalfCheetah-v5", "MountainCarContinuous-v0", "LunarLanderContinuous-v3"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Box2D's and MuJoCo's own bindings
@pytest.mark.slow
def test_the_presets_train_on_their_environments(env, tmp_path):
    run = swingup.train(env, steps=400, warmup=300, final_episodes=1, run_dir=tmp_path / "run", quiet=True)
    assert run.config.preset != "ddpg"
    assert np.isfinite(run.result["mean"])
    assert np.isfinite(run.metrics["critic_loss"][-1])
