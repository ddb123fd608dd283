"""What docs/cluster.md shows works: the space file, the script for Slurm, and submitit's local executor."""

import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from swingup.cluster.space import parse_space
from swingup.config.settings import Config

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()


def block(language, having):
    """The block of code in a language that has a word."""
    return next(b for b in re.findall(rf"```{language}\n(.*?)```", PAGE, re.S) if having in b)


def test_the_space_of_the_page_can_be_searched():
    found = parse_space(tomllib.loads(block("toml", "actor_lr")), "page", Config(env="Pendulum-v1"))
    assert [d.name for d in found] == ["actor_lr", "hidden"]


def test_every_flag_of_the_page_is_one():
    from swingup.cli.commands import COMMANDS
    from swingup.cli.flags import parser_of

    lines = [
        line for code in re.findall(r"```(?:sh|bash)\n(.*?)```", PAGE, re.S) for line in code.splitlines()
    ]
    commands = [line.split("#")[0].split() for line in lines if line.startswith("swingup ")]
    assert len(commands) >= 6
    for _, name, *words in commands:
        known = parser_of(COMMANDS[name].takes, name, {})._option_string_actions
        assert {w for w in words if w.startswith("--")} <= set(known), words


@pytest.mark.cluster
def test_two_jobs_of_the_array_share_one_sweep(tmp_path):
    script = block("bash", "--array")
    small = (
        "--steps 300 --warmup 100 --hidden 8 --batch 8 --eval-every 100 --eval-episodes 1 --final-episodes 1"
    )
    small += " --seeds 1 --threads 2"
    script = script.replace("HalfCheetah-v5 --trials 64 --jobs 4", f"Pendulum-v1 --trials 5 --jobs 1 {small}")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "swingup"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m swingup "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    import os

    env = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    jobs = [subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=env) for _ in range(2)]
    assert [job.wait() for job in jobs] in ([0, 0], [0, 75], [75, 0])
    assert (tmp_path / "runs" / "sweep" / "best.toml").exists()


@pytest.mark.cluster
def test_submitit_trains_a_seed_in_each_job(tmp_path):
    pytest.importorskip("submitit")
    small = "steps=300, warmup=100, hidden=(8,), batch=8, final_episodes=1, quiet=True, "
    code = block("python", "submitit").replace("run_dir=f", f"{small}run_dir=f")
    assert small in code
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").glob("seed-*/result.json"))) == 2
