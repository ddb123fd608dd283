"""A pendulum that raises, answers NaN, hangs or exits once in the middle of an evaluation."""

from __future__ import annotations

import sys
from pathlib import Path

from faultcases import runs
from faultcases.troubled import CODE
from swingup.storage import checkpoint_reader

MODULE = """
import os, time
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv
from swingup.seeding import EVALUATE, episode_seed

FIRST = int(episode_seed(0, EVALUATE, 0, 0))  # the first episode of every evaluation

class Examined(PendulumEnv):
    def reset(self, *, seed=None, options=None):
        self.t, self.kind, which, note = 0, *os.environ["TROUBLE"].split(",")
        self.note = note
        if seed == FIRST:
            with open(note, "a") as file:
                file.write("x")
        self.due = seed == FIRST and os.path.getsize(note) == int(which)
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.t += 1
        obs, *rest = super().step(action)
        if self.due and self.t == 5:
            if self.kind == "raise":
                raise RuntimeError("the simulator is gone")
            if self.kind == "exit":
                os._exit(7)
            if self.kind == "hang":
                time.sleep(3600)
            obs = obs * float("nan")
        return obs, *rest

gymnasium.register("Examined-v0", entry_point=Examined, max_episode_steps=50)
"""

# Without workers a process that hangs or exits is this one: nothing can go on but a resume.
CASES = [
    (kind, workers, which)
    for kind, ways in {"raise": (False, True), "nan": (False, True), "hang": (True,), "exit": (True,)}.items()
    for workers in ways
    for which in (1, 2, 3)
]
STEPS = {1: 300, 2: 600, 3: 900}  # of each evaluation, the closing one last


def whole(folder: Path) -> Path:
    """Write the module into a folder, and train a run there that nothing happens to."""
    (folder / "examined_house.py").write_text(MODULE)
    done = train(folder / "whole", "none", False, 0)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return folder / "whole"


def train(folder: Path, kind: str, workers: bool, which: int, command: tuple[str, ...] = ()):
    """A run beside the module with a fault in its evaluation number `which`; command: instead of `train`."""
    path = ":".join([str(folder.parent), *sys.path])
    settings = [*runs.flags(evaluate=300), *(["--workers=1"] if workers else []), "--run-dir", str(folder)]
    args = command or ("train", "examined_house:Examined-v0", *settings)
    note = folder.with_suffix(".note")
    return runs.swing(*args, code=CODE, TROUBLE=f"{kind},{which},{note}", PYTHONPATH=path)


def problem(sound: Path, case: tuple[str, bool, int]) -> str:
    """What is wrong with a run that one of CASES happens to, and with its resume, or nothing."""
    kind, workers, which = case
    folder = sound.with_name(f"{kind}-{'workers' if workers else 'here'}-{which}")
    done = train(folder, kind, workers, which)
    healed = workers and kind != "nan"
    if done.returncode != (0 if healed else 1):
        return f"exit {done.returncode}: {done.stderr[-200:]}"
    if "evaluation: " not in done.stderr:
        return f"an evaluation is not named: {done.stderr[-200:]}"
    if not healed:
        if (at := checkpoint_reader.steps(folder / "ckpt")[-1]) != STEPS[which]:
            return f"the newest checkpoint is of step {at}, not {STEPS[which]}"
        again = train(folder, kind, workers, 0, ("resume", str(folder), "--require-exact"))
        if again.returncode:
            return f"resume: exit {again.returncode}: {again.stderr[-200:]}"
    return runs.differing(runs.final(folder), runs.final(sound))
