"""The recipe of docs/slurm.md, with replacements for Slurm's commands: warned, requeued, the same bytes."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from faultcases import runs

RECIPE = Path(__file__).parents[2] / "docs" / "slurm.md"

# Slurm warns the script in the job's first life, at the second checkpoint; the training waits for the warning
# to reach it, so that no clock decides what happens.
TRAINING = """
import os, signal, sys, time
from pathlib import Path
from swingup.training import checkpointer
from swingup.cli.main import run
save, saves, warned = checkpointer.Checkpointer.save, [], Path(os.environ["WARNED"])
def saved(self, **options):
    saves.append(0)
    if len(saves) == 2 and not warned.exists():
        warned.write_text("")
        os.kill(os.getppid(), signal.SIGUSR1)
        while not self.evaluator.stop.asked:
            time.sleep(0.01)
    return save(self, **options)
checkpointer.Checkpointer.save = saved
sys.exit(run(sys.argv[1:]))
"""


def executable(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.slow
def test_a_job_that_is_warned_is_requeued_and_ends_in_the_same_bytes(tmp_path):
    script = re.search(r"```bash\n(.*?)```", RECIPE.read_text(), re.S)[1]
    assert "--signal=B:USR1@60" in script
    assert "--requeue" in script
    settings = " ".join(runs.flags())
    for theirs, ours in (
        ("HalfCheetah-v5 --seed 0", f"Pendulum-v1 --seed 0 {settings}"),
        ("runs/halfcheetah-0", str(tmp_path / "run")),
    ):
        assert script.count(theirs) == 1
        script = script.replace(theirs, ours)
    (tmp_path / "bin").mkdir()
    (tmp_path / "training.py").write_text(TRAINING)
    executable(tmp_path / "bin" / "srun", '#!/bin/sh\nexec "$@"\n')
    executable(tmp_path / "bin" / "scontrol", f'#!/bin/sh\necho "$@" >> {tmp_path}/scontrol.txt\n')
    executable(
        tmp_path / "bin" / "swingup", f'#!/bin/sh\nexec {sys.executable} {tmp_path}/training.py "$@"\n'
    )
    around = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4711",
        "WARNED": str(tmp_path / "warned"),
    }
    codes = []
    while not codes or (tmp_path / "scontrol.txt").read_text().count("requeue 4711") == len(codes) < 4:
        done = subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            text=True,
            env=os.environ | around,
            start_new_session=True,
        )
        codes.append(done.returncode)
        (tmp_path / "scontrol.txt").touch()
    assert codes == [75, 0], done.stderr
    args = ["train", "Pendulum-v1", "--seed=0", *runs.flags(), "--quiet", "--run-dir", tmp_path / "whole"]
    assert runs.swing(*args).returncode == 0
    assert not runs.differing(runs.final(tmp_path / "run"), runs.final(tmp_path / "whole"))
