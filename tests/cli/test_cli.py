"""The command line: what it accepts, how it says no, and what a run leaves behind."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swingup.cli import flags, main
from swingup.cli.commands import Train
from swingup.config.presets import base, presets
from swingup.config.settings import FIELDS, Config, apply, check
from swingup.errors import InputError

QUICK = ["--steps", "60", "--warmup", "20", "--hidden", "16", "16", "--batch", "8", "--final-episodes", "3",
         "--eval-episodes", "2", "--eval-every", "30"]  # fmt: skip


def no(argv, capsys):
    """The one line on stderr of a command that must exit with 2."""
    assert main.run(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("swingup: ")
    assert err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian", "Pendulum-v1"], "did you mean train?"),
        (["train"], "which environment? For example: swingup train Pendulum-v1"),
        (["train", "Pendulm-v1"], "did you mean Pendulum-v1"),
        (["train", "Pendulum-v1", "--gama", "0.9"], "did you mean --gamma?"),
        (["train", "Pendulum-v1", "--preset", "pendulm"], "did you mean pendulum?"),
        (["train", "Pendulum-v1", "--steps", "-5"], "--steps -5: expected a number from 1"),
        (["train", "Pendulum-v1", "--steps", "0"], "--steps 0"),
        (["train", "Pendulum-v1", "--steps", "many"], "--steps"),
        (["train", "Pendulum-v1", "--gamma", "1.5"], "--gamma 1.5: expected a number from 0 to 1"),
        (["train", "Pendulum-v1", "--gamma", "nan"], "--gamma nan"),
        (["train", "Pendulum-v1", "--tau", "0"], "--tau 0.0: expected a number above 0"),
        (["train", "Pendulum-v1", "--actor-lr", "inf"], "--actor-lr inf"),
        (["train", "Pendulum-v1", "--critic-lr", "-1e-3"], "--critic-lr -0.001"),
        (["train", "Pendulum-v1", "--sigma", "0.1", "0.2"], "2 numbers for 1 actions; give one, or one each"),
        (["eval", "runs/none", "--within", "0"], "--within 0.0: expected a number above 0"),
        (["train", "Pendulum-v1", "--sigma", "x"], "--sigma"),
        (["train", "Pendulum-v1", "--noise", "brown"], "--noise"),
        (["train", "Pendulum-v1", "--seed", "-1"], "--seed -1"),
        (["train", "Pendulum-v1", "--hidden", "0"], "--hidden [0]"),
        (["train", "Pendulum-v1", "--action-layer", "3"], "--action-layer 3: there are 2 hidden layers"),
        (["train", "Pendulum-v1", "--warmup", "9000000"], "learning would start after the end"),
        (["train", "Pendulum-v1", "--capacity", "10"], "smaller than a minibatch"),
        (["train", "Pendulum-v1", "--steps"], "--steps"),
        (["train", "Pendulum-v1", "--block", "0"], "--block 0: expected a number from 1"),
        (["train", "CartPole-v1"], "actions are Discrete"),
        (["train", "no_such_module_x:Env-v0"], "cannot import"),
        (["train", "Pendulum-v1", "--config", "missing.toml"], "no such file"),
        (["eval", "runs/nowhere"], "no such run folder"),
        (["eval"], "RUN"),
        (["eval", "x", "--episodes", "0"], "--episodes 0"),
        (["presets", "pendulm"], "did you mean pendulum?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in no(argv, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gama = 0.9", "there is no setting 'gama'; did you mean gamma?"),
        ("gamma = 'high'", "gamma = 'high' is not a number"),
        ("steps = 1.5", "steps = 1.5 is not a whole number"),
        ("steps = true", "steps = True is not a whole number"),
        ("hidden = [1.5]", "is not a list of whole numbers"),
        ("gamma = = 1", "cannot be read as TOML"),
        ("gamma = nan", "--gamma nan"),
    ],
)
def test_a_bad_config_file_is_one_line(text, message, capsys, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert message in no(["train", "Pendulum-v1", "--config", str(file)], capsys)


def test_every_setting_misspelt_by_one_letter_finds_its_name():
    found = []
    for name in FIELDS:
        for typo in {name[:-1] + "q", name + "s", name[1:], name[:1] + name[2:]} - set(FIELDS):
            with pytest.raises(InputError) as caught:
                apply(Config(), {typo: 1}, "file")
            found.append(f"did you mean {name}?" in str(caught.value))
    assert np.mean(found) >= 0.95, np.mean(found)


def test_precedence_default_preset_file_flag(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("gamma = 0.5\ntau = 0.25\n")
    preset = presets()["pendulum"].values
    assert base("Pendulum-v1").preset == "pendulum"
    assert base("Other-v0").preset == "ddpg"
    settings = base("Pendulum-v1", file=file)
    assert (settings.gamma, settings.tau, settings.batch) == (0.5, 0.25, preset["batch"])
    assert settings.final_episodes == Config().final_episodes


@pytest.mark.parametrize("preset", presets().values(), ids=lambda p: p.name)
def test_every_preset_is_valid_and_says_where_each_number_comes_from(preset):
    check(apply(Config(env="x"), preset.values, preset.name))
    assert preset.about
    assert all(len(source) > 10 for source in preset.sources.values())


def test_cleanrl_spellings_mean_ours():
    words = (
        "--env-id Pendulum-v1 --total_timesteps=5000 --learning-rate 1e-4 --learning-starts 7 "
        "--exploration-noise -0.5 --quiet --seed 3"
    )
    wanted = flags.parse(Train, "train", words.split())
    assert wanted.settings == Config(
        env="Pendulum-v1", steps=5000, actor_lr=1e-4, critic_lr=1e-4, warmup=7, sigma=(-0.5,), seed=3
    )
    assert wanted.reporting.quiet


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("--hidden 64 32 Pendulum-v1 --quiet", {"env": "Pendulum-v1", "hidden": (64, 32)}),
        ("--hidden 64,32 Pendulum-v1", {"env": "Pendulum-v1", "hidden": (64, 32)}),
        ("--quiet Pendulum-v1", {"env": "Pendulum-v1"}),
        (
            "Pendulum-v1 --normalize True --steps 1e5",
            {"env": "Pendulum-v1", "normalize": True, "steps": 100_000},
        ),
        (
            "Pendulum-v1 --no-uniform --layer_norm=true",
            {"env": "Pendulum-v1", "uniform": False, "layer_norm": True},
        ),
        (
            "Pendulum-v1 --uniform false --value-low -150",
            {"env": "Pendulum-v1", "uniform": False, "value_low": -150.0},
        ),
        ("--env-id Pendulum-v1 --save-every none", {"env": "Pendulum-v1", "save_every": None}),
    ],
)
def test_words_in_any_order_and_spelling_mean_the_same(words, values):
    assert flags.parse(Train, "train", words.split()).settings == Config(**values)


def test_every_setting_has_its_flag_in_one_of_the_groups_and_a_sentence(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main.run(["train", "Pendulum-v1", "--help"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    groups = [line[:-1] for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert groups == [
        "positional arguments", "used most", "run", "budget", "environment", "networks", "optimisation",
        "targets", "replay", "exploration", "critics", "evaluation", "checkpoints", "hardware",
        "what is shown and kept",
    ]  # fmt: skip
    assert out.split("used most:")[1].split("\n\n")[0].count("\n  --") == 8
    for field in FIELDS.values():
        assert field.help.endswith(".")
        assert field.positional or re.search(rf"^  --(no-)?{field.flag[2:]}\b", out, re.M), field.flag
    assert "[5000]" in out  # the defaults of this very run: its preset's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert (
        main.run(
            [
                "train",
                "Pendulum-v1",
                *QUICK,
                "--envs",
                "2",
                "--seed",
                "5",
                "--run-dir",
                str(folder),
                "--quiet",
            ]
        )
        == 0
    )
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_settings_command_and_policies(folder):
    saved = json.loads((folder / "config.json").read_text())
    assert (saved["env"], saved["preset"], saved["seed"], saved["envs"], saved["steps"]) == (
        "Pendulum-v1",
        "pendulum",
        5,
        2,
        60,
    )
    assert set(saved) == set(FIELDS)
    assert (folder / "command.txt").read_text().startswith("swingup train Pendulum-v1 --steps 60")
    assert sorted(p.name for p in (folder / "policy").iterdir()) == ["best.safetensors", "last.safetensors"]
    assert [r["step"] for r in rows(folder / "evaluations.csv")] == ["30", "60"]


def test_the_closing_evaluation_can_be_played_again(folder, capsys):
    result = json.loads((folder / "result.json").read_text())
    assert main.run(["eval", str(folder), "--episodes", "3", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {k: again[k] for k in ("mean", "std", "ci95", "episodes", "run")} == {
        k: result[k] for k in ("mean", "std", "ci95", "episodes", "run")
    }
    assert result["steps"] == 60
    assert main.run(["eval", str(folder), "--episodes", "3", "--seed", "1"]) == 0
    assert "3 greedy episodes" in capsys.readouterr().out


def test_json_is_one_line_and_nothing_else_on_stdout(tmp_path, capsys):
    assert main.run(["train", "Pendulum-v1", *QUICK, "--run-dir", str(tmp_path / "run"), "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert sorted(result) == ["ci95", "episodes", "mean", "run", "seconds", "std", "steps"]
    assert out.count("\n") == 1
    assert err == ""


def test_a_folder_that_exists_is_refused(folder, capsys):
    assert "exists already" in no(["train", "Pendulum-v1", *QUICK, "--run-dir", str(folder)], capsys)


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert "not the folder of a run" in no(["eval", str(tmp_path)], capsys)


def test_episodes_metrics_and_tensorboard_are_written(tmp_path):
    import swingup

    run = swingup.train(
        "Pendulum-v1",
        steps=1200,
        warmup=100,
        hidden=(16, 16),
        batch=8,
        final_episodes=2,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    episodes = run.episodes
    assert list(episodes["length"]) == [200.0] * 6
    assert list(episodes["episode"]) == list(range(6))
    assert np.isfinite(episodes["q_max"]).all()
    assert list(run.metrics["step"]) == [500, 1000, 1200]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder))
    events.Reload()
    np.testing.assert_allclose([e.value for e in events.Scalars("Reward")], episodes["return"], rtol=1e-6)
    assert [e.step for e in events.Scalars("Qmax_value")] == list(range(6))
    assert {"rollout/ep_rew_mean", "train/critic_loss", "eval/mean_reward", "time/fps"} <= set(
        events.Tags()["scalars"]
    )


def test_a_fault_in_the_middle_keeps_the_policy_and_exits_1(tmp_path, capsys, monkeypatch):
    module = tmp_path / "faulty_env.py"
    module.write_text(
        "import gymnasium, numpy as np\n"
        "from gymnasium.envs.classic_control import PendulumEnv\n"
        "class Faulty(PendulumEnv):\n"
        "    count = 0\n"
        "    def step(self, action):\n"
        "        self.count += 1\n"
        "        obs, *rest = super().step(action)\n"
        "        return (obs * np.nan if self.count == 50 else obs), *rest\n"
        "gymnasium.register('Faulty-v0', 'faulty_env:Faulty', "
        "max_episode_steps=200, disable_env_checker=True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    assert (
        main.run(
            [
                "train",
                "faulty_env:Faulty-v0",
                *QUICK,
                "--eval-every",
                "1000",
                "--run-dir",
                str(run),
                "--quiet",
            ]
        )
        == 1
    )
    err = capsys.readouterr().err
    assert "environment faulty_env:Faulty-v0 [0], episode 0, step 50: observation[0] is nan" in err
    assert f"the policy of step 49 is in {run}" in err
    assert err.count("\n") == 1
    assert (run / "policy" / "last.safetensors").is_file()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_finishes_the_step_and_keeps_the_policy(name, tmp_path):
    code = (
        "import os, signal, sys, threading\n"
        "from swingup.cli import main\nfrom swingup.loops import host\n"
        "tick = host.HostLoop.step\n"
        "def interrupted(self, ahead=True):\n"
        "    if self.iteration == 40: os.kill(os.getpid(), signal.NAME)\n"
        "    return tick(self, ahead)\n"
        "host.HostLoop.step = interrupted\n"
        f"sys.exit(main.run(['train', 'Pendulum-v1', *{QUICK}, '--eval-every', '1000', "
        f"'--run-dir', {str(tmp_path / 'run')!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code.replace("NAME", name)], capture_output=True, text=True)
    assert done.returncode == 75, done.stderr
    assert f"interrupted; go on with: swingup resume {tmp_path / 'run'}" in done.stderr
    assert (tmp_path / "run" / "policy" / "last.safetensors").is_file()


def endless(tmp_path):
    """A module whose environment never ends by itself, and how to call the installed command beside it."""
    (tmp_path / "my_module.py").write_text(
        "import gymnasium\n"
        "class Endless(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,))\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        return self.observation_space.low * 0, {}\n"
        "    def step(self, action):\n"
        "        return self.observation_space.low * 0, 1.0, False, False, {}\n"
        "gymnasium.register('Endless-v0', Endless)\n"
    )

    def call(*argv):
        command = Path(sys.executable).with_name("swingup")
        return subprocess.run([command, *argv], cwd=tmp_path, capture_output=True, text=True)

    return call


@pytest.mark.slow
def test_the_command_finds_a_module_beside_it_and_an_endless_episode_is_named(tmp_path):
    call = endless(tmp_path)
    done = call("train", "my_module:Endless-v0", *QUICK, "--run-dir", "run", "--quiet")
    assert done.returncode == 1, done.stderr
    assert "an episode has not ended after 2,000 steps; give it a limit with --episode-steps" in done.stderr
    done = call(
        "train", "my_module:Endless-v0", *QUICK, "--episode-steps", "20", "--run-dir", "limited", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mean"] == 20.0
    assert json.loads(call("eval", "limited", "--episodes", "1", "--json").stdout) | {"seconds": 0} == {
        "mean": 20.0, "std": None, "ci95": None, "episodes": 1, "seconds": 0, "run": "limited",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:", "importing broken_module raised SyntaxError"),
        (
            "x = 1\n1 / 0",
            "importing broken_module raised ZeroDivisionError: division by zero (broken_module.py:2)",
        ),
        ("import not_installed_at_all", "install that package"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(text, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_module", raising=False)
    assert message in no(["train", "broken_module:Any-v0"], capsys)


def test_a_policy_of_another_environment_is_refused(folder, tmp_path, capsys):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    settings = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(settings | {"env": "MountainCarContinuous-v0"}))
    assert "its obs_size is 3, that of environment MountainCarContinuous-v0 is 2" in no(
        ["eval", str(moved)], capsys
    )
    (moved / "config.json").write_text("[]")
    assert "holds a list, not settings" in no(["eval", str(moved)], capsys)


@pytest.mark.parametrize(
    ("settings", "advice", "follow"),
    [
        ({"steps": 2000, "envs": 4, "block": 600}, "lower it to at most 500", {"block": 500}),
        ({"capacity": 600, "n_step": 3, "block": 599}, "raise that to 601", {"capacity": 601}),
    ],
)
def test_a_block_longer_than_the_run_or_than_replay_is_refused_with_what_fits(settings, advice, follow):
    config = apply(base("Pendulum-v1"), settings, "test")
    with pytest.raises(InputError, match=f"--block {settings['block']}: .*{advice}"):
        check(config)
    assert check(apply(config, follow, "test"))


def test_a_block_has_the_names_of_other_libraries(capsys):
    for name in ("--train-freq", "--update-every", "--train_freq"):
        assert flags.parse(Train, "train", ["Pendulum-v1", name, "50"]).settings.block == 50
    # There gradient steps are counted for each block, here for each step: nobody's number may change meaning.
    both = ["train", "Pendulum-v1", "--train-freq=50", "--gradient_steps", "50", *QUICK]
    assert "give --block and --updates" in no(both, capsys)


def test_no_setting_has_the_name_of_an_option():
    from swingup.config.fields import fields
    from swingup.config.settings import Config
    from swingup.training.options import Options

    assert not fields(Config).keys() & fields(Options).keys()
