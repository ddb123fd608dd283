"""Runs with dropout, residual blocks and batch norm: logged without complaint, resumed to the same bytes."""

import numpy as np
import pytest

import swingup
from swingup.storage.policy_file import load_policy

SMALL = {
    "warmup": 40,
    "hidden": (8, 8),
    "batch": 8,
    "episode_steps": 20,
    "eval_every": 60,
    "eval_episodes": 1,
    "final_episodes": 1,
    "threads": 2,
}
OPTIONS = {
    "droq": {"critics": 2, "dropout": 0.1, "layer_norm": True, "activation": "elu"},
    "simba": {"residual": True, "actor_hidden": (8,), "dropout": 0.1},
    "crossq": {
        "critics": 2,
        "batch_norm": True,
        "dropout": 0.1,
        "atoms": 11,
        "value_low": -9,
        "value_high": 9,
    },
}


@pytest.mark.parametrize(
    "name", [n if n == "crossq" else pytest.param(n, marks=pytest.mark.slow) for n in OPTIONS]
)
def test_a_resumed_run_has_the_bytes_of_a_whole_one_and_its_logs_all_figures(name, tmp_path, capsys):
    settings = SMALL | OPTIONS[name]
    whole = swingup.train("Pendulum-v1", steps=120, run_dir=tmp_path / "whole", **settings)
    said = capsys.readouterr().err
    assert "no health figures" not in said
    assert "no graph" not in said
    for column in ("td_error", "action_gradient", "critic_norm"):
        assert np.isfinite(whole.metrics[column]).all()
    swingup.train("Pendulum-v1", steps=60, run_dir=tmp_path / "run", quiet=True, **settings)
    swingup.resume(tmp_path / "run", 120, quiet=True, require_exact=True)
    files = [tmp_path / run / "policy" / "last.safetensors" for run in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load_policy(files[0]).actor.activation == settings.get("activation", "relu")


@pytest.mark.slow
def test_seeds_in_one_program_have_them_too(tmp_path):
    settings = SMALL | OPTIONS["crossq"] | {"residual": True}
    group = swingup.train(
        "native/Pendulum-v1", steps=120, seeds=2, seeds_mode="vmap", run_dir=tmp_path, quiet=True, **settings
    )
    assert all(np.isfinite(mean) for mean in group.result["seeds"].values())
    a, b = (run.policy([0, 1, 0])[0] for run in group.runs)
    assert a != b
