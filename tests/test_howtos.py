"""README, quick start and docs/howto: every command and program in them runs, with fewer steps."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from swingup.cli.main import run as cli

ROOT = Path(__file__).parent.parent
# A page whose commands all start worker processes has none that are run here.
PAGES = [ROOT / "docs" / "quickstart.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
QUICK = ("looking",)  # pages with few programs to compile; the others are slow tests
BLOCK = re.compile(r"```(python|sh|c|js)\n(.*?)```", re.DOTALL)
# The first line of a block that is a file.
FILE = re.compile(r"(?:#|//|/\*) ([\w.]+\.(?:py|c|js))\b")
SMALL = {"steps": 220, "warmup": 100, "batch": 8, "final_episodes": 1, "eval_episodes": 1, "threads": 2}
# What is appended to a command, so that it takes little time.
FEW = {
    "train": [word for k, v in SMALL.items() for word in (f"--{k.replace('_', '-')}", str(v))] + ["--quiet"],
    "check-env": ["--seconds", "0.1"],
    "eval": ["--episodes", "2"],
    "report": ["--no-play"],
}


def shortened(code):
    """A program with few steps in each training."""
    code = re.sub(r"learn\([\d_]+\)", "learn(120)", code)
    few = ", ".join(f"{k}={v}" for k, v in SMALL.items())
    code = re.sub(r"\bsteps=[\d_]+", f"{few}, quiet=True", code)
    code = re.sub(r'(train\("[\w-]+", )(seed=\d\))', rf"\1{few}, quiet=True, \2", code)
    model = rf"\1(\2, warmup={SMALL['warmup']}, batch=8, threads=2"
    return re.sub(r'(DDPG|TD3)\(("MlpPolicy", "[\w-]+"|"[\w-]+")', model, code)


def run_line(line):
    """Run one line of a shell block: swingup in this process, compilers and others if they are installed."""
    words = shlex.split(line, comments=True)
    if words[0] == "swingup":
        assert cli([*words[1:], *FEW.get(words[1], [])]) == 0, line
    elif shutil.which(words[0]):
        subprocess.run(words, check=True)


def run_blocks(blocks, page):
    """Run a page's blocks one after the other in the current folder; returns the programs' names."""
    names: dict = {}
    for language, code in blocks:
        if file := FILE.match(code):
            Path(file[1]).write_text(code)
        elif language == "python":
            exec(compile(shortened(code), page.name, "exec"), names)
        else:
            for line in code.splitlines():
                run_line(line)
    return names


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, whose modules can be imported."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    plt.close("all")
    for name in ("my_module", "policy"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "page",
    [p if p.stem in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PAGES if p.stem != "seeds"],
    ids=lambda page: page.stem,
)
def test_everything_on_the_page_runs(page, folder, capfd):
    blocks = BLOCK.findall(page.read_text())
    assert blocks
    run_blocks(blocks, page)
    if page.stem == "export" and shutil.which("cc") and shutil.which("node"):
        torque, in_node = re.findall(r"^-?\d[\d.e-]*$", capfd.readouterr().out, re.M)
        assert abs(float(torque) - float(in_node)) < 1e-4


@pytest.mark.slow
def test_the_programs_of_the_readme_run(folder):
    page = ROOT / "README.md"
    blocks = [block for block in BLOCK.findall(page.read_text()) if block[0] == "python"]
    assert run_blocks(blocks, page)["action"].shape == (1,)
