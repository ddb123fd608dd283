"""Folders of runs and groups are checked or refused in one line; what a killed start-up leaves is neither."""

import json
import os
import shutil
from dataclasses import asdict

import pytest

import swingup
from faultcases import starts
from swingup.cli.main import run as cli
from swingup.config.presets import base
from swingup.errors import InputError
from swingup.runs.group import Group
from swingup.storage.run_folder import find_run, new_folder, read_result, write_settings

RESULT = {"mean": 1.0, "std": None, "ci95": None, "episodes": 1, "steps": 40, "seconds": 1.0, "run": "x"}
ABOUT = {"env": "Pendulum-v1", "preset": "pendulum", "mode": "process", "seeds": [0, 1], "command": "train"}


@pytest.fixture
def group(tmp_path):
    """A group of two runs that have their settings and a result, as far as `resume` and `compare` look."""
    folder = tmp_path / "group"
    for seed in (0, 1):
        (folder / f"seed-{seed}").mkdir(parents=True)
        settings = asdict(base("Pendulum-v1")) | {"seed": seed}
        write_settings(folder / f"seed-{seed}", settings, "swingup train")
        (folder / f"seed-{seed}" / "result.json").write_text(json.dumps(RESULT))
    (folder / "group.json").write_text(json.dumps(ABOUT))
    return folder


def refused(folder, capsys, *, by=("resume", "compare")):
    """The line that each command says of the group's folder."""
    lines = []
    for command in by:
        words = [command, str(folder), *([str(folder)] if command == "compare" else ["--quiet"])]
        assert cli(words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        lines.append(err)
    return lines


@pytest.mark.parametrize(
    "name", ["seed-1", "seed-1/result.json", "seed-1/config.json", "output.txt", "group.json"]
)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_link_or_a_pipe_anywhere_in_a_group_is_refused_in_one_line(name, kind, group, tmp_path, capsys):
    path = group / name
    if path.exists():
        path.rename(tmp_path / "outside")
    else:
        (tmp_path / "outside").write_text("")
    if kind == "link":
        path.symlink_to(tmp_path / "outside")
    else:
        os.mkfifo(path)
    for line in refused(group, capsys):
        assert f"{path}: a link, pipe or device" in line


@pytest.mark.parametrize("name", ["mean", "std", "ci95", "episodes", "steps", "seconds", "run"])
@pytest.mark.parametrize("value", ["absent", "text", float("nan"), float("inf"), [1], 10**400, True, {}])
def test_a_result_that_is_none_is_one_line(name, value, group, capsys):
    path = group / "seed-1" / "result.json"
    result = {**RESULT, name: value}
    if value == "absent":
        del result[name]
    if name == "run" and value == "text":
        return
    path.write_text(json.dumps(result))
    for line in refused(group, capsys):
        assert f"{path}: not a closing evaluation (" in line
    with pytest.raises(InputError, match="not a closing evaluation"):
        read_result(path.parent)


@pytest.mark.parametrize("text", ["", "{", "[]", "nonsense", "[" * 100_000, "\xff", " " * (1 << 20) + "{}"])
@pytest.mark.parametrize("name", ["group.json", "seed-1/result.json", "seed-1/config.json"])
def test_a_file_that_is_no_json_object_is_one_line(name, text, group, capsys):
    (group / name).write_text(text, encoding="latin-1")
    for line in refused(group, capsys, by=["resume"]):
        assert str(group / name) in line


@pytest.mark.parametrize(
    "about",
    [
        {"seeds": []}, {"seeds": [float("inf")]}, {"seeds": [1.5]}, {"seeds": "01"}, {"seeds": [0, 0]},
        {"seeds": [-1]}, {"seeds": [2**32]}, {"seeds": [True]}, {"seeds": None}, {"env": None}, {"env": 3},
        {"mode": "threads"}, {"mode": []},
    ],
)  # fmt: skip
def test_a_group_that_is_none_is_one_line(about, group, capsys):
    (group / "group.json").write_text(json.dumps(ABOUT | about))
    assert "group.json: cannot be used (" in refused(group, capsys, by=["resume"])[0]
    with pytest.raises(InputError, match="cannot be used"):
        Group(group)


def test_a_group_whose_seed_has_no_folder_is_one_line(group, capsys):
    shutil.rmtree(group / "seed-1")
    assert "seed-1: no such run folder" in refused(group, capsys, by=["resume"])[0]


def test_commands_are_added_whatever_bytes_came_before(tmp_path):
    (tmp_path / "command.txt").write_bytes(b"\xff\xfe\n")
    write_settings(tmp_path, {}, "swingup resume caf\xe9")
    assert (tmp_path / "command.txt").read_bytes() == b"\xff\xfe\nswingup resume caf\xc3\xa9\n"


# Start-ups that were killed


STARTS = [
    pytest.param(starts.CASES[i], marks=[] if i == 3 else pytest.mark.slow) for i in (0, 1, 2, 3, 14, 17)
]


@pytest.mark.parametrize("case", STARTS, ids=str)
def test_the_line_that_began_a_run_begins_it_again_wherever_its_start_was_killed(case, tmp_path):
    assert not starts.problem(*case, tmp_path / "run")


def test_a_run_begins_in_an_empty_folder_and_in_what_a_killed_start_left(tmp_path):
    (tmp_path / "empty").mkdir()
    assert new_folder(tmp_path / "empty", "x") == tmp_path / "empty"
    for left in (["command.txt"], [".config.json.part"], ["seed-0/config.json", "seed-1/.config.json.part"]):
        folder = tmp_path / left[0].replace("/", "")
        for name in left:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{")
        assert new_folder(folder, "x") == folder
        assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["config.json", "group.json", "notes.txt", "seed-0/policy/last", "ckpt/a"])
def test_a_folder_that_holds_anything_of_value_is_never_begun_in(name, tmp_path):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(InputError, match="exists already"):
        new_folder(tmp_path / "run", "x")
    assert path.read_text() == "{}"


def test_train_takes_a_folder_that_was_made_for_it(tmp_path):
    small = {"warmup": 10, "hidden": (8,), "batch": 4, "capacity": 100, "final_episodes": 1, "threads": 1}
    run = swingup.train("Pendulum-v1", steps=20, run_dir=tmp_path, quiet=True, eval_every=100, **small)
    assert find_run(run.folder) == tmp_path
