"""A pendulum whose worker process dies, raises or hangs in the middle of some of its steps, once at each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from faultcases import runs

MODULE = """
import os, signal, sys, time, zlib
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv

ACTS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(3600),
    "raise": lambda: 1 / 0,
}

class Troubled(PendulumEnv):
    def reset(self, *, seed=None, options=None):
        self.begun, self.t = seed, 0
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.t += 1
        kind, count, folder = os.environ["TROUBLE"].split(",")
        # Not in the trainer's own copies, which evaluate. The mark makes it happen once: the
        # replay goes through.
        chosen = zlib.crc32(f"{self.begun} {self.t}".encode()) % 100 == 0
        if kind in ACTS and "jax" not in sys.modules and chosen:
            mark = f"{folder}/{self.begun}-{self.t}"
            if len(os.listdir(folder)) < int(count) and not os.path.exists(mark):
                open(mark, "w").close()
                ACTS[kind]()
        return super().step(action)

gymnasium.register("Troubled-v0", entry_point=Troubled, max_episode_steps=200)
"""

# A hang is noticed after seconds, not after a minute.
CODE = """
import sys
from functools import partial
from swingup.envs import subprocess_env as workers
from swingup.cli.main import run
workers.SubprocessVectorEnv = partial(workers.SubprocessVectorEnv, deadline=8.0)
sys.exit(run(sys.argv[1:]))
"""


def write(folder: Path) -> None:
    """Put the module where `train` of a run beside it finds it."""
    (folder / "troubled_house.py").write_text(MODULE)


def train(folder: Path, kind: str, count: int, steps: int = 4000) -> tuple[subprocess.CompletedProcess, int]:
    """A run of four environments in two workers with `count` troubles of a kind.

    The process, and how many there were.
    """
    marks = folder.with_name(f"{folder.name}.marks")
    marks.mkdir()
    path = ":".join([str(folder.parent), *sys.path])
    settings = runs.flags(steps=steps, capacity=1000, every=500, evaluate=2000, more="envs=4 workers=2")
    args = ["train", "troubled_house:Troubled-v0", *settings, "--run-dir", str(folder)]
    done = runs.swing(*args, code=CODE, TROUBLE=f"{kind},{count},{marks}", PYTHONPATH=path)
    return done, len(list(marks.iterdir()))
