"""Runs and groups opened again: `swingup.load` of both, and what their repr says."""

import json

import pytest

import swingup

SMALL = {"steps": 60, "warmup": 20, "hidden": (8, 8), "batch": 8, "final_episodes": 1, "eval_every": 20,
         "eval_episodes": 1, "threads": 2, "quiet": True}  # fmt: skip


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """The folder of a group of which two seeds were trained, one after the other in this process."""
    folder = tmp_path_factory.mktemp("group") / "g"
    for seed in (0, 1):
        swingup.train("native/Pendulum-v1", seed=seed, run_dir=folder / f"seed-{seed}", **SMALL)
    about = {"env": "native/Pendulum-v1", "preset": "pendulum", "mode": "process", "seeds": [0, 1]}
    (folder / "group.json").write_text(json.dumps(about | {"command": ""}))
    return folder


def test_load_opens_a_run_and_a_group(group):
    run, whole = swingup.load(group / "seed-0"), swingup.load(group)
    assert isinstance(run, swingup.Run)
    assert isinstance(whole, swingup.Group)
    assert [r.config.seed for r in whole.runs] == [0, 1]


def test_repr_says_what_matters_in_a_line(group):
    run, whole = swingup.load(group / "seed-1"), swingup.load(group)
    start = f"Run('{group}/seed-1': native/Pendulum-v1, preset pendulum, seed 1, 60 steps, return -"
    assert repr(run).startswith(start)
    assert repr(whole).startswith(
        f"Group('{group}': native/Pendulum-v1, 2 of 2 seeds finished, interquartile "
    )
    assert repr(run.policy) == "Policy(native/Pendulum-v1: 3 observations, 1 actions, layers 8-8)"
    for text in map(repr, (run, whole, run.policy)):
        assert "\n" not in text


def test_repr_of_a_damaged_run_is_no_error(tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert "cannot be read" in repr(swingup.load(tmp_path))
