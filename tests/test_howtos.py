"""The pages of docs/howto: every command and every program in them runs, with fewer steps."""

import re
import shlex
from pathlib import Path

import pytest

from swingup.cli.main import run as cli

PAGES = sorted((Path(__file__).parent.parent / "docs" / "howto").glob("*.md"))
BLOCK = re.compile(r"```(python|sh)\n(.*?)```", re.DOTALL)
SMALL = {"steps": 150, "warmup": 100, "batch": 8, "final_episodes": 1, "eval_episodes": 1, "threads": 2}


def shortened(code):
    """A program with few steps in each training."""
    code = re.sub(r"learn\([\d_]+\)", "learn(120)", code)
    few = ", ".join(f"{k}={v}" for k, v in SMALL.items())
    code = re.sub(r"\bsteps=[\d_]+", f"{few}, quiet=True", code)
    return re.sub(r'(DDPG|TD3)\(("[\w-]+")', rf"\1(\2, warmup={SMALL['warmup']}, batch=8, threads=2", code)


@pytest.mark.parametrize(
    "page",
    [p if p.stem == "history" else pytest.param(p, marks=pytest.mark.slow) for p in PAGES],
    ids=lambda page: page.stem,
)
def test_everything_on_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text())
    assert blocks
    names: dict = {}
    for language, code in blocks:
        if language == "python":
            exec(compile(shortened(code), page.name, "exec"), names)
            continue
        few = [word for k, v in SMALL.items() for word in (f"--{k.replace('_', '-')}", str(v))]
        for line in code.splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "swingup"
            assert cli([*words[1:], *(few if words[1] == "train" else []), "--quiet"]) == 0, line
