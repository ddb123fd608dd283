"""The examples of docs/networks.md and docs/callbacks.md run as they stand."""

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parent.parent / "docs"
blocks = lambda page: re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)
NETWORKS = blocks("networks.md")


def executed(*parts):
    """What the names in these blocks stand for after they ran in one script."""
    names = {"__name__": "__main__"}
    for part in parts:
        exec(compile(part, "docs", "exec"), names)
    return names


def test_the_callbacks_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = executed(*blocks("callbacks.md"))
    run = names["run"]
    assert run.result["stopped"] == "<lambda> returned False"
    assert (run.folder / "policy" / "step-400.safetensors").is_file()
    assert run.metrics["effort"][0] > 0
    assert names["good"].result["stopped"] == "good enough"


@pytest.mark.slow
def test_the_networks_page_runs_and_networks_of_ones_own_act_again_where_they_are_given(
    tmp_path, monkeypatch, capsys
):
    import swingup

    monkeypatch.chdir(tmp_path)
    names = executed(*NETWORKS[:2])
    run, makers = names["run"], (names["make_actor"], names["make_critic"])
    with pytest.raises(swingup.InputError, match="networks that were given in Python are given there again"):
        print(swingup.load(run.folder).policy)
    again = swingup.load(run.folder, networks=makers).policy
    np.testing.assert_array_equal(again([0, 1, 0]), run.policy([0, 1, 0]))
    assert again.actor.in_numpy


@pytest.mark.parametrize("library", ["flax", "equinox"])
@pytest.mark.slow
def test_networks_of_other_libraries_fit(library, tmp_path, monkeypatch, capsys):
    pytest.importorskip(library, reason=f"{library} is not installed: pip install {library}")
    monkeypatch.chdir(tmp_path)
    (page,) = [block for block in NETWORKS if block.startswith(f"# needs {library}")]
    run = executed("from dataclasses import dataclass\nimport jax\nimport swingup\n", page)["run"]
    assert run.policy([0, 1, 0]).shape == (1,)
    assert not run.policy.actor.in_numpy
