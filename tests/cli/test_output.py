"""What the commands print: JSON alone where it is asked for, and words while something takes long."""

import json
import subprocess
import sys
import threading

import gymnasium
import pytest

from swingup.cli import output
from swingup.cli.main import USAGE
from swingup.cli.main import run as cli

TINY = ["--steps=40", "--warmup=10", "--hidden=8", "--batch=4", "--capacity=100", "--final-episodes=1",
        "--eval-episodes=1", "--eval-every=20", "--threads=1"]  # fmt: skip
LOUD = """
import atexit, ctypes, os, sys
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv
def shout():
    print("python")
    sys.__stdout__.write("the first stdout\\n")
    ctypes.CDLL(None).puts(b"C, in its own buffer")
    os.write(1, b"the descriptor\\n")
    os.system("echo a child process")
class Loud(PendulumEnv):
    def __init__(self, **options):
        super().__init__(**options)
        shout()
    def close(self):
        super().close()
        shout()
shout()
atexit.register(shout)
gymnasium.register("Loud-v0", Loud, max_episode_steps=20)
"""


@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    """A function that runs a command beside the module of a loud environment and returns what it printed."""
    folder = tmp_path_factory.mktemp("loud")
    (folder / "loud_module.py").write_text(LOUD)

    def call(*words):
        code = "from swingup.__main__ import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done

    call("train", "loud_module:Loud-v0", *TINY, "--run-dir", "run", "--json")
    return call


@pytest.mark.parametrize(
    "words",
    [
        ("train", "loud_module:Loud-v0", *TINY, "--run-dir", "again"),
        pytest.param(
            ("train", "loud_module:Loud-v0", *TINY, "--seeds", "2", "--run-dir", "group"),
            marks=pytest.mark.slow,
        ),
        ("resume", "run", "--steps", "60"),
        ("eval", "run", "--episodes", "2"),
        ("video", "run"),
    ],
    ids=lambda words: " ".join(words[:1]),
)
def test_json_is_alone_on_stdout_whatever_is_printed_by_whom(words, loud):
    done = loud(*words, "--json")
    assert "run" in json.loads(done.stdout) or "video" in json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    for text in ("python", "the first stdout", "C, in its own buffer", "the descriptor", "a child process"):
        assert text in done.stderr or "--seeds" in words


def test_stdout_is_as_it_was_after_a_command_with_json(capfd):
    with output.json_alone(True):
        print("others")
        output.emit({"a": 1})
    print("after")
    out, err = capfd.readouterr()
    assert (out, err) == ('{"a": 1}\nafter\n', "others\n")


def test_what_takes_long_says_what_it_is_doing_and_what_is_quick_says_nothing(capsys, monkeypatch):
    said = threading.Event()
    monkeypatch.setattr("builtins.print", lambda text, **_: (sys.stderr.write(text), said.set()))
    with output.working("filming", after=0.0):
        assert said.wait(10)
    with output.working("counting", after=100.0):
        pass
    assert capsys.readouterr().err == "swingup: filming"


@pytest.mark.parametrize(
    "words", [["video"], ["eval"], ["verify"], ["compare", "again"], ["doctor"], ["bench"]]
)
def test_every_command_that_may_take_long_says_what_it_is_doing(words, monkeypatch):
    class Said(Exception):
        pass

    def working(what):
        assert len(what) > 10
        raise Said

    monkeypatch.setattr(output, "working", working)
    run = [] if words[0] in ("doctor", "bench") else ["run"]
    with pytest.raises(Said):
        cli([words[0], *run, *words[1:]])


def test_the_list_of_commands_fits_80_columns():
    assert max(map(len, USAGE.splitlines())) <= 80


def test_a_group_of_few_seeds_has_a_range_and_one_of_five_an_interval():
    few = {
        "iqm": -1.5,
        "ci95": None,
        "range": [-2.0, -1.0],
        "seeds": {"0": -2.0, "1": -1.0},
        "seconds": 1,
        "run": "g",
    }
    assert "interquartile mean -1.5 (range -2.0 to -1.0), 2 seeds" in output.closing_lines(few, "X")
    many = few | {"ci95": [-3.0, 0.0]}
    assert "interquartile mean -1.5 (95 % interval -3.0 to 0.0), 2 seeds" in output.closing_lines(many, "X")


def test_a_device_that_is_not_there_is_one_line_and_leaves_no_folder(tmp_path):
    code = "import os; os.environ['JAX_PLATFORMS'] = 'cuda'\nfrom swingup.__main__ import main; main()"
    words = ["train", "Pendulum-v1", *TINY, "--run-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    if done.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert done.returncode == 2
    assert done.stderr.startswith("swingup: JAX_PLATFORMS=cuda: JAX finds no such device here")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_config_file_is_utf8_in_every_locale(tmp_path):
    (tmp_path / "mine.toml").write_text("# Größe\nhidden = [8]\n", encoding="utf-8")
    code = (
        "import locale, sys, pathlib; assert locale.getencoding().lower() != 'utf-8'\n"
        "from swingup.config.toml_file import read_toml; print(read_toml(pathlib.Path(sys.argv[1])))"
    )
    words = [sys.executable, "-X", "utf8=0", "-c", code, str(tmp_path / "mine.toml")]
    around = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(words, capture_output=True, text=True, env=around)
    assert done.stdout == "{'hidden': [8]}\n", done.stderr


def test_a_missing_package_has_one_hint(capsys, monkeypatch):
    def make(*args, **options):
        raise gymnasium.error.DependencyNotInstalled(
            'MuJoCo is missing, run `pip install "gymnasium[mujoco]"`'
        )

    monkeypatch.setattr(gymnasium, "make", make)
    assert cli(["train", "HalfCheetah-v5"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "swingup: environment HalfCheetah-v5: a package that it needs is not installed; "
        "pip install 'swingup[mujoco]'\n"
    )
