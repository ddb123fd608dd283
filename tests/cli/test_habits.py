"""Command lines and files of other libraries: CleanRL's scripts, RL Zoo's YAML, JSON; presets combined."""

import json
import shlex

import pytest

from swingup.cli.cleanrl import translated
from swingup.cli.commands import Train
from swingup.cli.flags import parse
from swingup.cli.main import run
from swingup.config.presets import base, origins, presets
from swingup.config.settings import Config, apply, check
from swingup.errors import InputError

CLEANRL = shlex.split(
    """
    --exp-name mine --seed 7 --torch-deterministic --cuda --save-model --env-id Pendulum-v1
    --total-timesteps 60 --learning-rate 1e-3 --num-envs 1 --buffer-size 500 --gamma 0.98 --tau 0.01
    --batch-size 8 --policy-noise 0.3 --exploration-noise 0.2 --learning-starts 2e1 --policy-frequency 2
    --noise-clip 0.4
    """
)


def test_cleanrls_td3_command_line_runs_unchanged(tmp_path):
    words = ["cleanrl/td3_continuous_action.py", *CLEANRL]
    ours = [
        "--threads",
        "2",
        "--final-episodes",
        "1",
        "--hidden",
        "8",
        "8",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    assert run(["train", *words, *ours]) == 0
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    expected = {
        "env": "Pendulum-v1", "preset": "td3", "seed": 7, "steps": 60, "actor_lr": 1e-3, "critic_lr": 1e-3,
        "capacity": 500, "gamma": 0.98, "tau": 0.01, "batch": 8, "smoothing": 0.3, "sigma": [0.2],
        "warmup": 20, "delay": 2, "smoothing_clip": 0.4, "critics": 2,
    }  # fmt: skip
    assert {name: saved[name] for name in expected} == expected


@pytest.mark.parametrize("script", ["ddpg_continuous_action", "td3_continuous_action"])
def test_a_scripts_name_stands_for_its_own_defaults(script):
    words = translated([f"cleanrl/{script}.py", "--env-id", "Pendulum-v1", "--no-cuda", "--track", "false"])
    found = parse(Train, "train", words)
    s = found.settings
    assert (s.env, s.seed, s.steps, s.warmup, s.actor_lr, s.delay) == (
        "Pendulum-v1",
        1,
        10**6,
        25_000,
        3e-4,
        2,
    )
    assert (s.preset, s.env_preset) == (script.partition("_")[0], "none")
    assert not found.reporting.cuda
    assert found.reporting.track is None


def test_flags_for_what_happens_anyway_are_taken_and_uploading_is_one_line(capsys):
    assert translated(["--save-model", "True", "X", "--hf-entity", "me", "--no-upload-model"]) == ["X"]
    assert run(["train", "Pendulum-v1", "--upload-model"]) == 2
    assert "policy/last.safetensors" in capsys.readouterr().err


def test_exp_name_names_the_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--steps", "6e1", "--warmup", "20", "--batch", "8", "--hidden", "8", "--action-layer", "1"]
    assert (
        run(["train", "Pendulum-v1", "--exp-name", "mine", *small, "--threads", "2", "--final-episodes", "1"])
        == 0
    )
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("Pendulum-v1__mine__0__")


@pytest.mark.parametrize(
    ("words", "track"),
    [
        (["--track"], "wandb"), (["--track", "true"], "wandb"), (["--track", "--seed", "1"], "wandb"),
        (["--track", "False"], None), (["--no-track"], None), (["--track", "mlflow"], "mlflow"),
        (["--track=trackio"], "trackio"), (["--track", "Pendulum-v1"], "wandb"), (["--track", "none"], None),
        (["--seed", "1"], None),
    ],
)  # fmt: skip
def test_track_alone_means_wandb_as_in_cleanrl(words, track):
    found = parse(Train, "train", translated(words))
    assert found.reporting.track == track
    assert found.settings.env == ("Pendulum-v1" if "Pendulum-v1" in words else "")


def test_a_misspelt_tracker_is_one_line_that_names_the_nearest(capsys):
    assert run(["train", "Pendulum-v1", "--track", "mlfow"]) == 2
    assert "did you mean mlflow?" in capsys.readouterr().err


ZOO = """
Pendulum-v1: &defaults
  n_timesteps: !!float 2e4
  policy: 'MlpPolicy'
  gamma: 0.98
  buffer_size: 200000
  learning_starts: 10000
  noise_type: 'normal'
  noise_std: 0.1
  gradient_steps: -1
  train_freq: [1, "episode"]
  learning_rate: 1e-4
  policy_kwargs: "dict(net_arch=dict(pi=[64], qf=[400, 300]), activation_fn=nn.Tanh)"

MountainCarContinuous-v0:
  <<: *defaults
  noise_type: 'ornstein-uhlenbeck'
  noise_std: 0.5
  learning_rate: lin_7e-4
  train_freq: 8
  gradient_steps: 4
  normalize: "{'norm_obs': True, 'norm_reward': False}"
"""


def test_rl_zoos_yaml_is_taken(tmp_path):
    file = tmp_path / "td3.yml"
    file.write_text(ZOO)
    c = check(base("Pendulum-v1", file=file))
    assert (c.preset, c.env_preset, c.env, c.steps, c.gamma) == ("td3", "none", "Pendulum-v1", 20_000, 0.98)
    assert (c.capacity, c.warmup, c.noise, c.sigma, c.updates) == (200_000, 10_000, "gaussian", (0.1,), 1.0)
    assert (c.actor_lr, c.actor_hidden, c.critic_hidden, c.activation) == (1e-4, (64,), (400, 300), "tanh")
    assert (c.critics, c.delay, c.smoothing, c.batch, c.tau) == (2, 2, 0.2, 256, 0.005)
    c = check(base("MountainCarContinuous-v0", file=file))
    assert (c.noise, c.sigma, c.ou_theta, c.ou_dt) == ("ou", (0.5,), 0.15, 0.01)
    assert (c.actor_lr, c.critic_lr_end, c.updates, c.normalize) == (7e-4, 0.0, 0.5, True)
    file.rename(tmp_path / "ddpg-tuned.yaml")
    assert base("Pendulum-v1", file=tmp_path / "ddpg-tuned.yaml").critics == 1


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("td3.yml", ZOO, "which environment"),
        ("td3.yml", "Pendulum-v0:\n  gamma: 0.9\n", "did you mean Pendulum-v0"),
        ("td3.yml", "Pendulum-v1: {noise_type: adaptive-param}", "noise is gaussian, ou or pink"),
        ("td3.yml", "Pendulum-v1: {normalize: true}", "norm_reward"),
        ("td3.yml", "Pendulum-v1: {policy_kwargs: 'dict(net_arch=[open(1)])'}", "is not a value"),
        ("td3.yml", "Pendulum-v1: {frame_stack: 4}", "no setting 'frame_stack'"),
        ("td3.yml", "Pendulum-v1: [1", "cannot be read as YAML"),
        ("td3.yml", "- 1", "a section for each environment"),
        ("a.json", "{", "cannot be read as JSON"),
        ("a.json", "[1]", "settings by name"),
        ("a.yaml", None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(name, text, word, tmp_path):
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as found:
        base("" if "which" in word else "Pendulum-v1", file=file)
    assert word in str(found.value)
    assert "\n" not in str(found.value)


def test_a_runs_config_json_and_plain_yaml_are_settings(tmp_path):
    import dataclasses

    config = check(apply(base("Pendulum-v1", "td3"), {"gamma": 0.5, "seed": 9}, "test"))
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    assert base("", file=tmp_path / "config.json") == config
    (tmp_path / "mine.yaml").write_text("gamma: 0.5\ncritic_lr: 1e-3\nhidden: [8, 8]\n")
    c = base("Pendulum-v1", file=tmp_path / "mine.yaml")
    assert (c.gamma, c.critic_lr, c.hidden, c.preset) == (0.5, 1e-3, (8, 8), "pendulum")


def test_an_algorithms_preset_goes_with_the_environments():
    td3, pendulum = presets()["td3"].values, presets()["pendulum"].values
    c = base("Pendulum-v1", "td3")
    assert (c.critics, c.delay, c.smoothing) == (2, 2, 0.2)
    assert (c.steps, list(c.hidden), c.gamma) == (pendulum["steps"], pendulum["hidden"], pendulum["gamma"])
    assert (c.preset, c.env_preset) == ("td3", "pendulum")
    alone = base("Pendulum-v1", "td3", env_preset="none")
    assert (alone.steps, list(alone.hidden), alone.env_preset) == (td3["steps"], td3["hidden"], "none")
    assert base("My-v0", "td3") == apply(alone, {"env": "My-v0"}, "test")
    assert base("My-v0", "td3", env_preset="pendulum").steps == pendulum["steps"]
    assert base("HalfCheetah-v5", "d4pg").n_step == 5
    with pytest.raises(InputError, match="not combined"):
        base("Pendulum-v1", "tutorial", env_preset="pendulum")
    with pytest.raises(InputError, match=r"--env-preset pendulm.*did you mean pendulum"):
        base("Pendulum-v1", "td3", env_preset="pendulm")


def test_presets_of_one_layer_are_what_they_were():
    for name, preset in presets().items():
        for env in ("Pendulum-v1", "My-v0") if not preset.algorithm else ():
            found = base(env, name)
            assert found == apply(Config(env=env, preset=name, env_preset="none"), preset.values, "test")
    assert base("Pendulum-v1") == base("Pendulum-v1", "pendulum")


def test_a_run_says_which_values_came_from_where(tmp_path, capsys):
    c = apply(base("Pendulum-v1", "td3"), {"steps": 60, "sigma": 0.2}, "test")
    first, second, yours = origins(c)
    assert first.startswith("pendulum: hidden 128 128, ")
    assert "steps" not in first
    assert second == "td3: critics 2, delay 2, smoothing 0.2, smoothing_clip 0.5"
    assert yours == "yours: steps 60, sigma 0.2"
    assert origins(base("Pendulum-v1")) == []
    small = ["--steps", "60", "--warmup", "20", "--batch", "8", "--hidden", "8", "--threads", "2"]
    words = ["train", "Pendulum-v1", "--preset", "td3", *small, "--final-episodes", "1"]
    assert run([*words, "--run-dir", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().err
    assert "preset td3 with pendulum" in shown
    assert "  td3: critics 2, delay 2, smoothing 0.2, smoothing_clip 0.5" in shown
    assert "  yours: steps 60, hidden 8, batch 8, warmup 20, final_episodes 1, threads 2" in shown
