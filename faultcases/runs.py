"""Small runs in processes of their own.

Started, killed at random instants, signalled anywhere, and compared byte by byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import swingup
from swingup.storage import checkpoint_reader

# Two threads, which the process of the tests has, too: a run of one process is resumed in another.
SMALL = "hidden=16 batch=16 eval-episodes=2 final-episodes=2 threads=2"


def flags(
    steps: int = 900,
    warmup: int = 200,
    capacity: int = 400,
    every: int = 100,
    evaluate: int = 300,
    more: str = "",
) -> list[str]:
    """Settings with which a run lasts seconds, saves often, and fills its replay more than once."""
    given = f"steps={steps} warmup={warmup} capacity={capacity} save-every={every} "
    given += f"eval-every={evaluate} {SMALL} {more}"
    return [f"--{setting}" for setting in given.split()]


def python(code: str, *args: Any, **environment: str) -> subprocess.Popen:
    """A fresh Python that runs code with arguments."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


CLI = "import sys; from swingup.cli.main import run; sys.exit(run(sys.argv[1:]))"


def swing(*args: Any, code: str = CLI, **environment: str) -> subprocess.CompletedProcess:
    """One command of swingup in a fresh process, to its end."""
    child = python(code, *args, **environment)
    out, err = child.communicate()
    return subprocess.CompletedProcess(args, child.returncode, out, err)


def final(folder: Path) -> dict[str, Any]:
    """What a finished run comes to, without clocks.

    Weights, targets, optimizer, replay, counters, logs, policy.
    """
    newest = checkpoint_reader.load(folder / "ckpt")
    found = {"step": newest.step, "added": newest.added, "best": newest.about["evaluator"]["best"]}
    assert newest.ring is not None
    found |= {"ring": digest(newest.ring.tobytes())} | {
        k: digest(v.tobytes()) for k, v in newest.tensors.items()
    }
    for name, clock in (("episodes", "seconds"), ("metrics", "steps_per_second"), ("evaluations", "")):
        columns = getattr(swingup.load(folder), name)
        found |= {f"{name}.csv, {k}": digest(v.tobytes()) for k, v in columns.items() if k != clock}
    return found | {"policy": digest((folder / "policy" / "last.safetensors").read_bytes())}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differing(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The names of what differs, shortened; empty where nothing does."""
    odd = [k for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)]
    return ", ".join(odd[:4]) + (f" and {len(odd) - 4} more" if len(odd) > 4 else "")


def saving(folder: Path) -> bool:
    """Whether a save is under way, or was cut off."""
    try:
        return any(
            name.endswith(".part")
            for home in ("", "segments", "mirror")
            for name in os.listdir(folder / "ckpt" / home)
        )
    except OSError:
        return False


class Killed:
    """A run that is killed with SIGKILL again and again, each time somewhere further on.

    `inside` counts those within a save.
    """

    def __init__(self, env: str, settings: list[str], folder: Path, seed: int, steps: int):
        self.command = ["train", env, *settings, "--quiet", "--run-dir", str(folder), "--resume"]
        self.folder, self.steps, self.random = folder, steps, random.Random(seed)
        self.kills = self.inside = self.early = 0

    def newest(self) -> int:
        return max(checkpoint_reader.steps(self.folder / "ckpt"), default=0)

    def kill(self, stretch: int) -> bool:
        """Start it and kill it: while it starts, within a save.

        Or at any instant of the next `stretch` steps. False if it ended first.
        """
        way = self.random.choices(["start", "save", "any"], [1, 2, 5])[0]
        child = python(CLI, *self.command)
        until = min(self.newest() + self.random.randint(1, stretch), self.steps - 1)
        later = time.monotonic() + (self.random.uniform(0, 4) if way == "start" else 600)
        while child.poll() is None and self.newest() < until and time.monotonic() < later:
            time.sleep(0.001)
        if way == "any":
            time.sleep(self.random.random() * 0.2)
        while way == "save" and child.poll() is None and not saving(self.folder):
            pass
        alive = child.poll() is None
        child.kill()
        child.communicate()
        self.kills += alive
        self.inside += alive and saving(self.folder)
        self.early += alive and way == "start"
        return alive

    def finish(self) -> subprocess.CompletedProcess:
        return swing(*self.command)


# Where a signal arrives: which function of which module, and at which of its calls.
PHASES = {
    "collect": "host.HostLoop.launch",
    "update": "host.HostLoop.step",
    "compile": "host.HostLoop.__init__",
    "compiled": "base.BackgroundCompiled.__call__",
    "evaluation": "evaluator.evaluate_policy",
    "episode": "policy.Policy.act",
    "save": "checkpointer.Checkpointer.save",
    "write": "disk.write",
    "policy": "evaluator.save_policy",
    "closing": "evaluator.evaluate_policy",
    "video": "video.Recorder.step",
    "encode": "video.Movie.add",
}

SIGNALLED = """
import json, os, signal, sys, time
from pathlib import Path
from swingup.cli import main
from swingup.core import policy
from swingup.loops import base, host
from swingup.reports import video
from swingup.storage import checkpoint_writer, disk, policy_file
from swingup.training import checkpointer, evaluator
owner, name, when, note = {owner}, {name!r}, {when}, {note!r}
plain, calls, told = getattr(owner, name), [], {{}}
def signalled(*args, **options):
    calls.append(0)
    if len(calls) == when:
        told["at"] = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
    return plain(*args, **options)
setattr(owner, name, signalled)
save = checkpoint_writer.Checkpoints.save
def saved(*args, **options):
    path = save(*args, **options)
    told["durable"] = time.monotonic()
    return path
checkpoint_writer.Checkpoints.save = saved
code = main.run(sys.argv[1:])
told["end"] = time.monotonic()
Path(note).write_text(json.dumps(told))
sys.exit(code)
"""


def signalled(
    phase: str, when: int, folder: Path, args: list[str]
) -> tuple[subprocess.CompletedProcess, dict[str, float]]:
    """A run that gets SIGTERM in a phase, at its call number `when`.

    And the seconds from there to the checkpoint and to the end.
    """
    owner, _, name = PHASES[phase].rpartition(".")
    note = folder.with_suffix(".json")
    done = swing(
        *args, "--run-dir", folder, code=SIGNALLED.format(owner=owner, name=name, when=when, note=str(note))
    )
    told = json.loads(note.read_text()) if note.exists() else {}
    return done, {k: told[k] - told["at"] for k in ("durable", "end") if k in told and "at" in told}


SEEN = (
    "import os, sys; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{cores}]); "
    + CLI.removeprefix("import sys; ")
)
