"""Model cards: a folder that opens as the run it was made from, and what the Hub may do to it."""

import json
import re
import shutil
import sys
import types

import numpy as np
import pytest
import yaml
from made import make_run, pendulum_policy

import swingup
from swingup.cli.main import run as command
from swingup.storage import hub

OBS = np.array([[1.0, 0.0, 0.0], [-0.3, 0.9, 4.0]], np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and its card with a film."""
    folder = make_run(tmp_path_factory.mktemp("card") / "run", sigma=(0.7,))
    said = []
    swingup.card(folder, say=said.append)
    assert said == []
    return folder


@pytest.fixture
def stored(run, tmp_path, monkeypatch):
    """The transfer replaced by a folder that stands for the Hub; returns the function's calls."""
    calls, there = [], tmp_path / "there"

    def upload(folder, name):
        calls.append(("upload", name))
        shutil.copytree(folder, there)
        return f"https://hub/{name}"

    def download(name, revision, folder):
        calls.append(("download", name, revision))
        shutil.copytree(there, folder, dirs_exist_ok=True)

    package = types.ModuleType("huggingface_hub")
    package.get_token = lambda: "a token"
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    monkeypatch.setattr(hub, "upload", upload)
    monkeypatch.setattr(hub, "download", download)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return calls


def test_the_folder_has_what_the_hub_shows_and_what_acting_needs(run):
    found = {str(path.relative_to(run / "card")) for path in (run / "card").rglob("*") if path.is_file()}
    assert found == {
        "README.md", "results.json", "replay.mp4", "config.json", "result.json", "evaluations.csv",
        "closing.csv", "policy/last.safetensors",
    }  # fmt: skip
    assert (run / "card" / "replay.mp4").read_bytes()[4:8] == b"ftyp"
    assert str(run.parent) not in "".join(p.read_text() for p in (run / "card").glob("*.[jm][sd]*"))


def test_the_metadata_are_the_closing_evaluation(run):
    text, result = (run / "card" / "README.md").read_text(), swingup.load(run).result
    about = yaml.safe_load(text.split("---")[1])
    assert about["library_name"] == "swingup"
    assert {"Pendulum-v1", "reinforcement-learning", "ddpg"} <= set(about["tags"])
    (one,) = about["model-index"][0]["results"]
    assert one["dataset"] == {"name": "Pendulum-v1", "type": "Pendulum-v1"}
    assert one["metrics"][0]["value"] == f"{result['mean']:.2f} +/- {result['std']:.2f}"
    kept = json.loads((run / "card" / "results.json").read_text())
    assert (kept["mean_reward"], kept["std_reward"]) == (result["mean"], result["std"])
    assert (kept["n_evaluation_episodes"], kept["env_id"]) == (100, "Pendulum-v1")
    assert "| sigma | 0.7 | 0.3 |" in text


def test_the_cards_own_example_works_in_its_folder(run, monkeypatch):
    monkeypatch.chdir(run / "card")
    (code,) = re.findall(r"```python\n(.*?)```", (run / "card" / "README.md").read_text(), re.S)
    space = {"observation": OBS}
    exec(code, space)
    np.testing.assert_array_equal(space["action"], pendulum_policy()(OBS))


def test_the_cards_own_commands_work_in_its_folder(run, tmp_path, monkeypatch, capsys):
    shutil.copytree(run / "card", tmp_path / "card")
    monkeypatch.chdir(tmp_path / "card")
    lines = re.findall(
        r"`(swingup (?:train|eval|export) .*?)`", (tmp_path / "card" / "README.md").read_text()
    )
    assert len(lines) == 3
    short = {
        "train": ["--steps", "150", "--final-episodes", "1", "--run-dir", "../again", "--threads", "2"],
        "eval": ["--episodes", "1"],
        "export": ["--format", "npz"],
    }
    for line in lines:
        words = line.split()[1:]
        assert command([*words, *short[words[0]]]) == 0, capsys.readouterr().err
    assert swingup.load("../again").config.sigma == (0.7,)


def test_a_pushed_card_is_the_same_run_when_it_is_loaded(run, stored, tmp_path, capsys):
    words = [
        "card",
        str(run),
        "--push",
        "me/model",
        "--no-video",
        "--output",
        str(tmp_path / "out"),
        "--json",
    ]
    assert command(words) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"card": str(tmp_path / "out"), "pushed": "me/model"}
    assert "https://hub/me/model" in said.err
    assert 'swingup.load("hf:me/model")' in (tmp_path / "out" / "README.md").read_text()
    again = swingup.load("hf:me/model@v1")
    assert stored == [("upload", "me/model"), ("download", "me/model", "v1")]
    np.testing.assert_array_equal(again.policy(OBS), swingup.load(run).policy(OBS))
    assert again.config == swingup.load(run).config
    assert again.result == swingup.load(run).result | {"run": "me/model"}
    assert command(["eval", "hf:me/model", "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 2
    for words in (["report", "hf:me/model"], ["export", "hf:me/model", "--format", "py"]):
        assert command(words) == 0
        assert capsys.readouterr().out.startswith(
            str(tmp_path / "cache" / "swingup" / "hub" / "me--model@main")
        )


@pytest.mark.parametrize("what", ["environment", "wrapper", "networks"])
def test_a_downloaded_card_imports_nothing_that_the_user_has_not_named(what, stored, tmp_path, monkeypatch):
    trap = tmp_path / "trap_module.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = {
        "environment": {"env": "trap_module:Env-v0"},
        "wrapper": {"wrapper": ("trap_module:Wrap",)},
        "networks": {},
    }[what]
    folder = make_run(tmp_path / "run", **settings)
    if what == "networks":
        from safetensors.numpy import load_file, save_file

        path = folder / "policy" / "last.safetensors"
        spec = {"env": "Pendulum-v1", "obs_shape": [3], "action_shape": [1], "action_dtype": "float32"}
        about = {
            "spec": {**spec, "low": [-2.0], "high": [2.0]},
            "networks": "trap_module:make",
            "needs": "jax",
        }
        save_file(load_file(path), path, {"swingup": json.dumps(about | {"outputs": None, "form": None})})
    swingup.card(folder, video=False, push="me/trap", say=list[str]().append)
    with pytest.raises(swingup.InputError, match=r"trap_module.*--import"):
        swingup.load("hf:me/trap").evaluate(1)
    assert not (tmp_path / "sprung").exists()


def test_a_link_in_a_downloaded_folder_is_refused(run, stored, tmp_path):
    swingup.card(run, tmp_path / "out", "me/model", video=False, say=print)
    (tmp_path / "there" / "closing.csv").unlink()
    (tmp_path / "there" / "closing.csv").symlink_to("/etc/hostname")
    shutil.copytree(
        tmp_path / "there", tmp_path / "cache" / "swingup" / "hub" / "me--model@main", symlinks=True
    )
    hub.download = lambda *args: None
    with pytest.raises(swingup.InputError, match="plain files only"):
        swingup.load("hf:me/model")


def test_what_cannot_be_is_one_line(run, stored, tmp_path, monkeypatch, capsys):
    def said(*words):
        assert command(list(words)) == 2
        return capsys.readouterr().err

    assert "expected owner/name" in said("eval", "hf:model")
    assert "expected owner/name" in said("eval", "hf:../model")
    assert "expected owner/name" in said("card", str(run), "--push", "model")
    (tmp_path / "there").mkdir()
    assert "not a model of swingup, it has no config.json" in said("eval", "hf:me/other")
    monkeypatch.setattr(hub, "download", lambda *args: 1 / 0)
    assert "hf:me/model: the Hub did not give it (ZeroDivisionError" in said("eval", "hf:me/model")
    monkeypatch.setattr(hub, "upload", lambda *args: 1 / 0)
    assert "--push me/model: the Hub did not take it" in said(
        "card", str(run), "--push", "me/model", "--no-video"
    )
    sys.modules["huggingface_hub"].get_token = lambda: None
    assert "hf auth login" in said("card", str(run), "--push", "me/model")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'swingup[hub]'" in said("card", str(run), "--push", "me/model")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "pip install 'swingup[hub]'" in said("eval", "hf:me/model")
    assert "no closing evaluation" in said("card", str(unfinished(tmp_path / "run")))
    assert "has a policy and no checkpoints" in said("resume", "hf:me/model")


def unfinished(folder):
    (make_run(folder) / "result.json").unlink()
    return folder


def test_a_run_that_cannot_be_filmed_has_a_card_without_video(tmp_path, capsys):
    folder = make_run(tmp_path / "run", env="Nowhere-v0", preset="ddpg")
    assert command(["card", str(folder)]) == 0
    said = capsys.readouterr()
    assert "warning: no replay.mp4" in said.err
    assert "README.md" in said.out
    assert not (folder / "card" / "replay.mp4").exists()
    assert "replay.mp4" not in (folder / "card" / "README.md").read_text()


def test_the_transfer_asks_the_package_for_what_a_model_consists_of(tmp_path, monkeypatch):
    asked = []
    package = types.ModuleType("huggingface_hub")
    package.snapshot_download = lambda name, **how: asked.append((name, how))

    class Api:
        def create_repo(self, name, exist_ok):
            asked.append((name, exist_ok))
            return f"https://hub/{name}"

        def upload_folder(self, **how):
            asked.append(how)

    package.HfApi = Api
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    hub.download("me/model", "v1", tmp_path)
    assert hub.upload(tmp_path, "me/model") == "https://hub/me/model"
    (name, how), made, sent = asked
    assert (name, how["revision"], how["local_dir"]) == ("me/model", "v1", tmp_path)
    assert {"config.json", "policy/*.safetensors"} <= set(how["allow_patterns"])
    assert made == ("me/model", True)
    assert (sent["repo_id"], sent["folder_path"]) == ("me/model", tmp_path)
    assert {"README.md", "replay.mp4", "config.json"} <= set(sent["allow_patterns"])
