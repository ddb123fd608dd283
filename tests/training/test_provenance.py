"""A run records what it was made with and on, and every episode of its closing evaluation."""

import json

import jax
import numpy as np
import pytest

import swingup
from swingup.reports.provenance import git_revision
from swingup.storage.tables import read_csv


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Two seeds in one process."""
    return swingup.train(
        "native/PointMass-v0",
        preset="ddpg",
        seeds=2,
        seeds_mode="vmap",
        steps=300,
        warmup=100,
        hidden=(8,),
        eval_every=300,
        final_episodes=3,
        threads=2,
        quiet=True,
        run_dir=tmp_path_factory.mktemp("provenance") / "group",
    )


def test_every_run_of_a_group_names_versions_and_machine(group):
    for run in group.runs:
        about = json.loads((run.folder / "machine.json").read_text())
        assert about["swingup"] == swingup.__version__
        assert about["jax"] == jax.__version__
        assert "git_revision" in about


def test_closing_csv_has_the_episodes_of_the_result(group):
    for run in group.runs:
        table = read_csv(run.folder / "closing.csv")
        assert len(table["return"]) == 3
        assert np.mean(table["return"]) == pytest.approx(run.result["mean"])
        assert set(table["length"]) == {100}


def test_a_folder_outside_git_has_no_revision(tmp_path):
    assert git_revision(tmp_path) == ""
