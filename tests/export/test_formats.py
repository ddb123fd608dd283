"""Exported policies act as the trainer's do, in every format."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from swingup.core import networks
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.core.running_statistics import RunningStatistics
from swingup.errors import InputError
from swingup.export import activations, interpreter, parity
from swingup.export.formats import FORMATS, export
from swingup.export.program import Program, Step, program
from swingup.types import Spec

rng = np.random.default_rng(7)


def policy(
    obs=(3,),
    actions=(1,),
    low=-2.0,
    high=2.0,
    norm=False,
    seen=0,
    dtype="float32",
    hidden=(64, 48),
    **options,
):
    """A policy with weights as large as trained ones, so that its actions fill the whole range."""
    size, outputs = int(np.prod(obs)), int(np.prod(actions))
    spec = Spec("Made-v0", obs, actions, dtype, as_bounds(low, outputs), as_bounds(high, outputs))
    sizes = (size, *hidden, outputs)
    params = [
        {"w": rng.normal(size=(a, b)) / np.sqrt(a), "b": 0.1 * rng.normal(size=b)}
        | ({"scale": 1 + 0.1 * rng.normal(size=b)} if norm and b is not sizes[-1] else {})
        for a, b in pairwise(sizes)
    ]
    params[-1].pop("scale", None)
    params[-1]["w"] *= 3 if norm or seen or options else 1
    params = tuple({k: v.astype(np.float32) for k, v in layer.items()} for layer in params)
    statistics = None
    if seen:
        mean, deviation = rng.normal(size=size) * 5, 10 ** rng.uniform(-2, 2, size)
        statistics = RunningStatistics(
            *(np.asarray(x, np.float32) for x in (seen, mean, seen * deviation**2))
        )
    return Policy(Actor(size, outputs, hidden, layer_norm=norm, **options), params, spec, statistics)


def as_bounds(value, n):
    return tuple(map(float, value)) if isinstance(value, (list, tuple)) else (float(value),) * n


POLICIES = {
    "plain": policy(),
    "normalised": policy((17,), (6,), -1, 1, seen=5000),
    "unseen": policy(seen=1),
    "asymmetric": policy((8,), (3,), (-1, 0, 100), (3, 0.4, 101)),
    "multi-dimensional": policy((4, 6, 2), (2, 3), -1, 1),
    "layer-norm": policy((11,), (2,), norm=True),
    "layer-norm, normalised": policy((5,), (4,), (-1, -2, -3, -4), (1, 2, 3, 9), norm=True, seen=300),
    "double": policy((3,), (2,), -0.1, 0.3, dtype="float64"),
    "elu": policy((7,), (2,), activation="elu"),
    "silu, layer-norm": policy((7,), (2,), norm=True, activation="silu"),
    "tanh": policy((7,), (2,), activation="tanh"),
    "one layer": policy((6,), (2,), hidden=(5,)),
}
HERE = {"c": shutil.which("gcc") or shutil.which("cc"), "js": shutil.which("node")}
formats = [
    pytest.param(name, marks=pytest.mark.skipif(not HERE.get(name, True), reason=f"no program runs {name}"))
    for name in FORMATS
]


@pytest.mark.parametrize("name", formats)
@pytest.mark.parametrize("kind", POLICIES)
def test_a_file_agrees_with_the_trainer_on_random_and_extreme_observations(name, kind, tmp_path):
    path = export(POLICIES[kind], tmp_path / f"policy.{name}", name)
    found = parity.compare(POLICIES[kind], path, FORMATS[name].run)
    assert found.difference <= 1e-5
    assert found.microseconds > 0


def test_the_observations_reach_both_ends_and_the_middle():
    for kind in POLICIES.values():
        obs = parity.observations(kind)
        assert obs.shape == (1100, kind.spec.obs_size)
        actions = kind.act(obs)
        assert (np.abs(actions) > 0.99).any()
        assert (np.abs(actions) < 0.5).any()


@pytest.mark.parametrize("name", formats)
def test_a_file_of_another_policy_is_told_apart(name, tmp_path):
    path = export(policy(), tmp_path / f"policy.{name}", name)
    found = parity.compare(POLICIES["plain"], path, FORMATS[name].run)
    assert found.difference > 0.01
    assert not found.close


@pytest.mark.parametrize("name", formats)
def test_an_observation_that_is_not_a_number_gives_no_action(name, tmp_path):
    path = export(POLICIES["plain"], tmp_path / f"policy.{name}", name)
    obs = np.array([[np.nan, 0, 0], [0, 0, 0]], np.float32)
    with np.errstate(invalid="ignore"):
        actions, _, _ = FORMATS[name].run(path, obs, POLICIES["plain"])
    if name == "js":  # JSON has no NaN
        actions = np.array([[np.nan if x is None else x for x in row] for row in actions.tolist()], float)
    assert np.isnan(actions[0]).all()
    assert np.isfinite(actions[1]).all()


def test_onnx_takes_batches_of_any_size(tmp_path):
    import onnxruntime

    path = export(POLICIES["multi-dimensional"], tmp_path / "policy.onnx", "onnx")
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for size in (1, 3, 70):
        obs = rng.normal(size=(size, 4, 6, 2)).astype(np.float32)
        (actions,) = session.run(None, {"observation": obs})
        np.testing.assert_allclose(actions, POLICIES["multi-dimensional"](obs), atol=1e-5)


@pytest.mark.skipif(not HERE["c"], reason="no C compiler here")
def test_the_c_file_needs_only_math_h_and_its_example_runs_as_its_comment_says(tmp_path):
    path = export(POLICIES["plain"], tmp_path / "policy.c", "c")
    text = path.read_text()
    assert re.findall(r"#include (\S+)", text.partition("#ifdef SWINGUP_EXAMPLE")[0]) == ["<math.h>"]
    assert not re.search(r"\b(malloc|calloc|alloca|free)\b", text)
    command = re.search(r"cc -O2 -DSWINGUP_EXAMPLE .*", text)[0]
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(POLICIES["plain"](np.zeros(3))[0]), abs=1e-5)


@pytest.mark.skipif(not HERE["c"], reason="no C compiler here")
def test_the_c_file_agrees_where_sums_are_float(tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "STRICT", [*parity.STRICT, "-DSWINGUP_SUM=float"])
    for kind in ("normalised", "layer-norm"):
        path = export(POLICIES[kind], tmp_path / "policy.c", "c")
        assert parity.compare(POLICIES[kind], path, parity.run_c).difference <= 1e-5


def test_the_python_file_needs_numpy_alone(tmp_path):
    export(POLICIES["normalised"], tmp_path / "policy.py", "py")
    obs = rng.normal(size=(4, 17)).astype(np.float32)
    np.save(tmp_path / "obs.npy", obs)
    program = (
        "import sys\nimport numpy as np\nbefore = set(sys.modules)\nimport policy\n"
        "standard = set(sys.stdlib_module_names)\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before} - standard\n"
        "assert new <= {'policy', 'numpy'}, new\n"
        "np.save('actions.npy', policy.act(np.load('obs.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "actions.npy"), POLICIES["normalised"](obs), atol=1e-6)


def test_a_wrong_shape_is_said(tmp_path):
    act = interpreter.load(export(POLICIES["plain"], tmp_path / "policy.npz", "npz"))
    with pytest.raises(ValueError, match=r"shape \(3,\), this has \(2,\)"):
        act(np.zeros(2))


def test_every_activation_is_in_every_table():
    assert activations.ACTIVATIONS.keys() == interpreter.ACTIVATIONS.keys() == networks.ACTIVATIONS.keys()


def test_an_activation_that_no_format_has_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match="no format has the activation sine; they have relu"):
        export(policy(activation="sine"), tmp_path / "policy.c", "c")


@pytest.mark.parametrize("name", formats)
@pytest.mark.parametrize("word", sorted(activations.ACTIVATIONS))
def test_an_activation_is_the_same_function_everywhere(name, word, tmp_path):
    """The function of the table in NumPy, at points from -30 to 30, beside each format's."""
    points = np.linspace(-30, 30, 601, dtype=np.float32)[:, None]
    bounds = {"low": np.array([-1e3]), "high": np.array([1e3])}
    steps = (
        Step("activation", values={"name": word}),
        Step("dense", {"w": np.array([[1e-3]], np.float32)}),
        Step("rescale", bounds),
    )
    made = Program("Made-v0", (1,), (1,), "float32", steps)
    path = tmp_path / f"policy.{name}"
    path.write_bytes(FORMATS[name].make(made))
    kind = policy((1,), (1,))
    found, _, _ = FORMATS[name].run(path, points, kind)
    np.testing.assert_allclose(found, interpreter.ACTIVATIONS[word](points), rtol=1e-5, atol=2e-4)


def test_a_network_of_ones_own_is_refused_in_one_line(tmp_path):
    class Mine:
        def apply(self, params, obs):
            return obs[..., :1]

    own = dataclasses.replace(POLICIES["plain"], actor=Mine())
    with pytest.raises(InputError, match="the actor is a Mine, a network of your own") as caught:
        export(own, tmp_path / "policy.c", "c")
    assert "\n" not in str(caught.value)


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match="there are onnx, npz, c, js, py"):
        export(POLICIES["plain"], tmp_path / "policy.x", "tflite")


def test_a_name_from_elsewhere_puts_no_code_into_a_file(tmp_path):
    evil = '*/ int x; """\nimport os\n</script>`${1}'
    named = dataclasses.replace(POLICIES["plain"], spec=dataclasses.replace(POLICIES["plain"].spec, env=evil))
    for name in ("c", "js", "py"):
        text = FORMATS[name].make(program(named)).decode()
        assert "import os\n<" not in text
        assert name == "js" or "*/ int x" not in text  # there it is within a string
        assert "</script>" not in text
        path = tmp_path / f"policy.{name}"
        path.write_text(text)
        if HERE.get(name, True):
            assert parity.compare(named, path, FORMATS[name].run).difference <= 1e-5


def test_the_steps_are_said_in_order():
    kinds = [step["kind"] for step in json.loads(json.dumps(program(POLICIES["layer-norm"]).about))["steps"]]
    assert kinds == [*["dense", "layer_norm", "activation"] * 2, "dense", "activation", "rescale"]
