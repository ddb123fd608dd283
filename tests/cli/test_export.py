"""`swingup export` writes a file, says how it agrees with the trainer's policy, and refuses in one line."""

import dataclasses
import json
import sys
from itertools import pairwise

import numpy as np
import pytest

import swingup
from swingup.cli.main import run as command
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.export import formats, interpreter
from swingup.storage.policy_file import save_policy
from swingup.types import Spec


@pytest.fixture
def folder(tmp_path):
    """The folder of a run whose policy was not trained."""
    rng = np.random.default_rng(3)
    sizes = (3, 16, 1)
    params = tuple(
        {"w": rng.normal(size=(a, b)).astype(np.float32), "b": rng.normal(size=b).astype(np.float32)}
        for a, b in pairwise(sizes)
    )
    spec = Spec("Pendulum-v1", (3,), (1,), "float32", (-2.0,), (2.0,))
    folder = tmp_path / "run"
    save_policy(folder / "policy" / "last.safetensors", Policy(Actor(3, 1, (16,)), params, spec))
    settings = dataclasses.asdict(swingup.Config(env="Pendulum-v1"))
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_the_file_lies_in_the_run_and_the_line_says_how_it_agrees(folder, capsys):
    assert command(["export", str(folder), "--format", "npz"]) == 0
    line = capsys.readouterr().out
    path = folder / "export" / "policy.npz"
    assert line.startswith(f"{path}: ")
    assert "1,000 random and 100 extreme observations" in line
    obs = np.ones(3, np.float32)
    np.testing.assert_allclose(interpreter.load(path)(obs), swingup.load(folder).policy(obs), atol=1e-6)


def test_json_has_the_figures(folder, tmp_path, capsys):
    words = ["export", str(folder), "--format", "py", "--output", str(tmp_path / "a" / "act.py"), "--json"]
    assert command(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["file"] == str(tmp_path / "a" / "act.py")
    assert found["difference"] < 1e-6
    assert found["microseconds"] > 0


def test_a_file_that_acts_otherwise_is_a_failure(folder, capsys, monkeypatch):
    other = lambda program: formats.npz(
        dataclasses.replace(program, steps=(*program.steps[:-2], *program.steps[-1:]))  # without its tanh
    )
    monkeypatch.setitem(formats.FORMATS, "npz", formats.FORMATS["npz"]._replace(make=other))
    assert command(["export", str(folder), "--format", "npz"]) == 1
    assert "does not act as the trainer's policy" in capsys.readouterr().err


def test_what_is_not_here_is_said_and_the_file_is_there(folder, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert command(["export", str(folder), "--format", "js"]) == 0
    assert "not compared: there is no node here" in capsys.readouterr().out
    assert (folder / "export" / "policy.js").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "tflite"], "export --format tflite: expected onnx, npz, c, js or py"),
        (["--best"], "no such policy; the run has not saved one yet"),
    ],
)
def test_mistakes_are_one_line(folder, words, said, capsys):
    assert command(["export", str(folder), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_onnx_that_is_not_installed_is_named_with_its_extra(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert command(["export", str(folder)]) == 2
    assert "pip install 'swingup[export]'" in capsys.readouterr().err
