"""What a run survives or refuses: hostile folders, modules that nobody named, lost replay, failing saves.

The cases are in faultcases/; benchmarks/faults.py runs all of them.
"""

import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

import swingup
from faultcases import disks, evaluating, folders, hostile, runs, troubled
from swingup.cli.main import run as cli
from swingup.errors import InputError
from swingup.storage import checkpoint_reader, checkpoint_writer, trusted_modules

SHORT = runs.flags(steps=300, warmup=100, capacity=100, every=100, evaluate=100, more="final-episodes=1")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A short run that nothing is wrong with."""
    folder = tmp_path_factory.mktemp("sound") / "run"
    assert cli(["train", "Pendulum-v1", *SHORT, "--quiet", "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "copy")


# Hostile files


@pytest.mark.slow
def test_hostile_files_execute_open_and_import_nothing(sound, tmp_path):
    """Thirty of the cases, in a process of its own under an audit hook, through load, eval and resume."""
    names = [*list(hostile.CASES)[::4], "an id of the standard library"]
    assert len(names) >= 30
    done = subprocess.run(
        [sys.executable, hostile.__file__, sound, tmp_path, *names], capture_output=True, text=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["case"] for f in found] == names, done.stderr
    assert not {f["case"]: why for f in found if (why := hostile.verdict(f))}


@pytest.mark.parametrize(
    "name", [*(n for n in hostile.SEALED if n.startswith("about")), "a counter of another step"]
)
def test_a_sealed_lie_is_one_line_and_touches_no_log(copy, tmp_path, capsys, name):
    before = {p.name: p.read_bytes() for p in copy.glob("*.csv")} | {
        "config": (copy / "config.json").read_bytes()
    }
    hostile.SEALED[name](copy, tmp_path / "mark")
    assert cli(["resume", str(copy), "--steps", "400", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not what swingup train saves" in said
    assert before == {p.name: p.read_bytes() for p in copy.glob("*.csv")} | {
        "config": (copy / "config.json").read_bytes()
    }


# A disk that is full


@pytest.mark.slow
def test_a_full_disk_never_stops_a_run_and_what_is_lost_is_said(tmp_path):
    """A fifth of the cases, and a group in processes; benchmarks/faults.py runs all."""
    names = [*list(disks.CASES)[::5], list(disks.CASES)[-1]]
    found, ended = disks.run(tmp_path, names)
    assert [f["case"] for f in found] == names, ended
    assert not {f["case"]: why for f in found if (why := disks.verdict(f))}


# Modules that a folder names

MODULE = """
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv
gymnasium.register("Named-v0", entry_point=PendulumEnv, max_episode_steps=200)
"""


@pytest.fixture
def foreign(copy, tmp_path, monkeypatch):
    """A run on an environment of a module that is there and that nobody has named."""
    (tmp_path / "strange_house.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(trusted_modules, "named", set())
    hostile.setting(env="strange_house:Named-v0")(copy, tmp_path)
    yield copy
    sys.modules.pop("strange_house", None)


def test_a_folder_imports_no_module_that_its_reader_has_not_named(foreign, capsys):
    for command in ("eval", "resume", "verify", "video", "watch"):
        assert cli([command, str(foreign)]) == 2
        said = capsys.readouterr().err
        assert "would import the module 'strange_house'" in said
        assert said.count("\n") == 1
    with pytest.raises(InputError, match="add --import"):
        _ = swingup.load(foreign).env
    assert swingup.load(foreign).policy
    assert "strange_house" not in sys.modules
    assert cli(["eval", str(foreign), "--episodes", "1", "--import", "strange_house"]) == 0


def test_a_module_that_was_named_once_needs_no_naming_again(foreign, monkeypatch, tmp_path):
    """`resume` just works where one has trained, in another process too, until the module lies elsewhere."""
    trusted_modules.allow("strange_house:Named-v0")
    monkeypatch.setattr(trusted_modules, "named", set())
    assert trusted_modules.check("strange_house:Named-v0", foreign)
    trusted_modules.allow("strange_house:Named-v0")
    assert trusted_modules.register().read_text().count("\n") == 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(tmp_path / "strange_house.py", elsewhere)
    monkeypatch.syspath_prepend(str(elsewhere))
    monkeypatch.setattr(trusted_modules, "named", set())
    with pytest.raises(InputError, match="not named yourself"):
        trusted_modules.check("strange_house:Named-v0", foreign)


def test_training_names_the_module(tmp_path, monkeypatch):
    (tmp_path / "own_house.py").write_text(MODULE.replace("Named", "Own"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "run"
    assert cli(["train", "own_house:Own-v0", *SHORT, "--quiet", "--run-dir", str(folder)]) == 0
    assert trusted_modules.register().read_text().startswith("own_house\t")
    path = {"PYTHONPATH": ":".join(map(str, [tmp_path, *sys.path]))}
    assert runs.swing("resume", folder, "--quiet", **path).returncode == 0
    stranger = runs.swing("resume", folder, "--quiet", **path, XDG_STATE_HOME=str(tmp_path / "other"))
    assert stranger.returncode == 2
    assert "would import the module 'own_house'" in stranger.stderr


# What is left where replay is not


@pytest.mark.parametrize("env", ["Pendulum-v1", pytest.param("native/Pendulum-v1", marks=pytest.mark.slow)])
def test_weights_without_replay_go_on_after_a_new_warmup(sound, tmp_path, capsys, env):
    folder = shutil.copytree(sound, tmp_path / "run") if env == "Pendulum-v1" else tmp_path / "run"
    if env != "Pendulum-v1":
        assert cli(["train", env, *SHORT, "--quiet", "--run-dir", str(folder)]) == 0
    hostile.put("ckpt segments", hostile.CONTENTS["nothing"])(folder, tmp_path)
    capsys.readouterr()
    assert cli(["resume", str(folder), "--steps", "500"]) == 3
    assert "its weights are whole: --weights-only" in capsys.readouterr().err
    before = checkpoint_reader.load(folder / "ckpt", replay=False).tensors
    assert cli(["resume", str(folder), "--steps", "500", "--weights-only", "--require-exact"]) == 2
    assert cli(["resume", str(folder), "--steps", "500", "--weights-only"]) == 0
    assert "resumed at step 300: weights-only; replay and the running episodes are gone" in " ".join(
        capsys.readouterr().err.split()
    )
    after = checkpoint_reader.load(folder / "ckpt")
    assert (after.step, after.added) == (500, 200)
    updates = {k: int(v) for k, v in after.tensors.items() if "critic_opt" in k and k.endswith(".count")}
    assert updates
    # 99 rows of the new warm-up without an update, and one for each of the 101 after it.
    assert {k: int(before[k]) + 101 for k in updates} == updates
    episodes = swingup.load(folder).episodes
    assert len(set(episodes["seed"])) == len(episodes["seed"])
    assert cli(["verify", str(folder)]) == 0


def test_what_cannot_be_saved_costs_one_warning_and_never_the_run(tmp_path, monkeypatch, capsys):
    def refuses(self, *args):
        raise InputError("ring: no rows of numbers")

    monkeypatch.setattr(checkpoint_writer.Checkpoints, "save", refuses)
    assert cli(["train", "Pendulum-v1", *SHORT, "--run-dir", str(tmp_path / "run")]) == 1
    said = capsys.readouterr()
    assert said.err.count("ring: no rows of numbers; not saved, training goes on") == 1
    assert "not saved: checkpoint (ring: no rows of numbers); there is no checkpoint" in said.err
    assert "Pendulum-v1: return" in said.out


def test_the_class_is_told_with_the_first_checkpoint(tmp_path, capsys):
    assert cli(["train", "Pendulum-v1", *SHORT, "--run-dir", str(tmp_path / "run")]) == 0
    assert (
        " ".join(capsys.readouterr().err.split()).count(
            "first checkpoint at step 100: from here on `swingup resume` continues an interrupted run "
            "to the same bits (exact)"
        )
        == 1
    )
    assert cli(["resume", str(tmp_path / "run"), "--steps", "400"]) == 0
    assert "first checkpoint" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_signal_while_a_film_is_made_leaves_a_checkpoint_and_the_film(tmp_path):
    folder = tmp_path / "run"
    done, seconds = runs.signalled(
        "video", 150, folder, ["train", "Pendulum-v1", *SHORT, "--quiet", "--record"]
    )
    assert done.returncode == 75, done.stderr
    assert "durable" in seconds
    after = runs.swing("resume", folder, "--quiet", "--require-exact")
    assert after.returncode == 0, after.stderr
    assert np.isfinite(swingup.load(folder).result["mean"])


@pytest.mark.slow
def test_workers_that_die_raise_and_hang_change_no_byte_of_a_run(tmp_path):
    troubled.write(tmp_path)
    whole, _ = troubled.train(tmp_path / "whole", "none", 0, steps=1000)
    assert whole.returncode == 0, whole.stderr
    for kind, count in {"kill": 2, "raise": 2, "hang": 1}.items():
        done, troubles = troubled.train(tmp_path / kind, kind, count, steps=1000)
        assert (done.returncode, troubles) == (0, count), done.stderr
        assert done.stderr.count("is started again") == count
        assert not runs.differing(runs.final(tmp_path / kind), runs.final(tmp_path / "whole"))


@pytest.mark.slow
def test_a_fault_in_an_evaluation_costs_no_checkpoint_and_workers_heal_it(tmp_path):
    sound = evaluating.whole(tmp_path)
    for case in [("raise", False, 1), ("exit", True, 2)]:
        assert case in evaluating.CASES
        assert not evaluating.problem(sound, case)


@pytest.mark.slow
def test_an_evaluation_that_meets_nan_or_hangs_is_named_or_healed(tmp_path):
    sound = evaluating.whole(tmp_path)
    for case in [("nan", True, 1), ("hang", True, 3)]:
        assert not evaluating.problem(sound, case)


@pytest.mark.slow
def test_links_pipes_and_empty_files_are_refused_in_one_line_or_resumed(tmp_path):
    sound, draw = folders.group(tmp_path), random.Random(1)
    names, own = folders.files(sound), folders.files(sound / "seed-0")
    for kind in ("link", "pipe"):
        for name in ("group.json", "seed-1/result.json", *draw.sample(names, 2)):
            assert not folders.trapped(sound, tmp_path / "work", name, kind)
    for name in ("metrics.csv", *draw.sample(own, 1)):
        assert not folders.emptied(sound, tmp_path / "work", name)
