"""An environment of one's own, as a new user brings it: arguments, a wrapper and a close() that fails."""

import json
import shutil
import sys

import numpy as np
import pytest

import swingup
from swingup.cli.main import run

MODULE = """
import gymnasium, numpy as np

class Slide(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-2, 2, (2,))
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))

    def __init__(self, goal, steps=15, render_mode=None):
        self.goal, self.steps, self.render_mode = goal, steps, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = self.np_random.uniform(-1, 1), 0
        return [self.x, self.goal], {}

    def step(self, action):
        self.t, self.x = self.t + 1, float(np.clip(self.x + 0.1 * action[0], -2, 2))
        return [self.x, self.goal], np.array([-abs(self.x - self.goal)]), 0, int(self.t == self.steps), {}

    def render(self):
        return np.full((16, 16, 3), 100 + int(20 * self.x), np.uint8)

    def close(self):
        raise OSError("the device is gone")

class Doubled(gymnasium.RewardWrapper):
    def reward(self, reward):
        return 2 * reward
"""

SETTINGS = ["--steps", "120", "--warmup", "40", "--batch", "16", "--hidden", "8", "--threads", "2"]
SETTINGS += ["--eval-every", "60", "--eval-episodes", "2", "--final-episodes", "2", "--quiet"]
ENV = ["slidehouse:Slide", "--env-kwargs", "goal=0.5", "--eval-env-kwargs", "steps=10"]
ENV += ["--wrapper", "slidehouse:Doubled"]
BOUNDS = ["--action-low", "-1", "--action-high", "1"]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """The user's folder, with one trained run in it."""
    folder = tmp_path_factory.mktemp("house")
    (folder / "slidehouse.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        assert run(["train", *ENV, *BOUNDS, *SETTINGS, "--run-dir", "a"]) == 0
        yield folder
    sys.modules.pop("slidehouse", None)


def test_the_command_line_says_what_is_missing_and_the_advice_works(house, capsys):
    assert run(["train", *ENV, *SETTINGS, "--run-dir", "b"]) == 2
    assert "--action-low -1 --action-high 1" in capsys.readouterr().err
    assert run(["train", "slidehouse:Slid", *SETTINGS]) == 2
    assert "did you mean Slide?" in capsys.readouterr().err
    assert run(["train", "slidehouse:Slide", "--env-kwargs", "gaol=1", *SETTINGS]) == 2
    assert "did you mean goal?" in capsys.readouterr().err
    assert run(["train", *ENV[:3], "--wrapper", "slidehouse:Double", *BOUNDS, *SETTINGS]) == 2
    assert "did you mean Doubled?" in capsys.readouterr().err


def test_the_run_is_evaluated_filmed_resumed_and_compared_as_the_same_environment(house, capsys):
    assert run(["eval", "a", "--episodes", "2", "--json"]) == 0
    out = capsys.readouterr()
    evaluated = json.loads(out.out)
    assert evaluated["mean"] == swingup.load("a").result["mean"]
    assert out.err.count("the device is gone") == 1
    assert swingup.load("a").evaluate(2).lengths == (10, 10)
    assert run(["video", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["length"] == 10
    shutil.copytree("a", "b")
    assert run(["resume", "b", "--steps", "150", "--quiet", "--require-exact"]) == 0
    assert swingup.load("b").result["steps"] == 150
    assert run(["compare", "a", "b"]) == 0
    assert run(["verify", "b"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_elsewhere_a_run_imports_nothing_that_was_not_named(house, tmp_path, monkeypatch, capsys):
    shutil.copytree("a", tmp_path / "a")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("swingup.storage.trusted_modules.named", set())
    assert run(["eval", str(tmp_path / "a"), "--episodes", "1"]) == 2
    assert "--import" in capsys.readouterr().err
    config = tmp_path / "a" / "config.json"
    evil = json.loads(config.read_text()) | {"env": "os:getcwd", "env_kwargs": None, "wrapper": []}
    config.write_text(json.dumps(evil))
    assert run(["eval", str(tmp_path / "a"), "--episodes", "1"]) == 2
    assert "os:getcwd" in capsys.readouterr().err
    config.write_text(json.dumps(evil | {"env": "Pendulum-v1", "wrapper": ["os:fspath"]}))
    assert run(["eval", str(tmp_path / "a"), "--episodes", "1"]) == 2
    assert "os:fspath" in capsys.readouterr().err
    shutil.copyfile(house / "a" / "config.json", config)
    assert run(["eval", str(tmp_path / "a"), "--episodes", "1", "--import", "slidehouse"]) == 0


def test_a_run_made_in_python_from_a_function_opens_with_import_module_name(house, capsys):
    import slidehouse

    small = {"steps": 120, "warmup": 40, "batch": 16, "hidden": (8,), "threads": 2, "quiet": True}
    make = lambda: slidehouse.Slide(0.5)
    made = swingup.train(make, action_low=-1, action_high=1, final_episodes=2, run_dir="c", **small)
    (house / "maker.py").write_text("import slidehouse\ndef make(): return slidehouse.Slide(0.5)\n")
    assert run(["eval", "c", "--episodes", "2"]) == 2
    assert "--import MODULE:NAME" in capsys.readouterr().err
    assert run(["eval", "c", "--episodes", "2", "--json", "--import", "maker:make"]) == 0
    # Two copies act in one batch here, ten in training: their sums are rounded differently.
    assert json.loads(capsys.readouterr().out)["mean"] == pytest.approx(made.result["mean"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["Pendulum-v1"], 0, ["exactly", "200 steps", "swingup video works", "-2 to 2", "can train on it"]),
        ([*ENV, *BOUNDS], 0, ["15 steps; no time limit", "rewards come as ndarray", "16 x 16 pixels"]),
        (
            ["slidehouse:Loose", "--env-kwargs", "goal=0"],
            1,
            ["does not work", "the reward is nan", "mend it"],
        ),
        (["LunarLander-v2"], 2, ["LunarLanderContinuous-v3"]),
    ],
)
def test_check_env_says_what_a_run_would_find_out(house, capsys, words, code, said):
    import slidehouse

    slidehouse.Loose = type(
        "Loose",
        (slidehouse.Slide,),
        {
            "action_space": slidehouse.gymnasium.spaces.Box(-1, 1, (1,)),
            "step": lambda self, action: (np.zeros(2, "f4"), float("nan"), False, False, {}),
        },
    )
    assert run(["check-env", *words, "--seconds", "0.2"]) == code
    told = capsys.readouterr()
    for text in said:
        assert text in told.out + told.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dm_control/cartpole-balance-v0", "write shimmy:dm_control/cartpole-balance-v0"),
        ("ALE/Pong-v5", "images"),
        ("FetchReach-v4", "pip install 'swingup[robotics]', then write gymnasium_robotics:FetchReach-v4"),
        ("FetchReach", "gymnasium_robotics:FetchReach"),
        ("LunarLander-v2", "did you mean LunarLanderContinuous-v3"),
        ("LunarLander-v3", "train LunarLanderContinuous-v3"),
        ("HalfCheetah-v6", "did you mean HalfCheetah-v5?"),
        ("CartPole-v1", "InvertedPendulum-v5"),
    ],
)
def test_ids_that_are_not_there_or_of_choices_name_what_would_work(capsys, name, said):
    assert run(["train", name, *SETTINGS]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
