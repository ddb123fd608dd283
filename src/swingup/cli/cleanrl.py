"""Command lines of CleanRL's DDPG and TD3 scripts as `swingup train` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from swingup.errors import InputError, nearest
from swingup.reports.tracking import TrackerName

COMMON = (
    "--env-preset none --env-id Hopper-v4 --seed 1 --total-timesteps 1000000 --hidden 256 256 "
    "--action-layer 1 --learning-rate 3e-4 --buffer-size 1000000 --gamma 0.99 --tau 0.005 --batch-size 256 "
    "--exploration-noise 0.1 --learning-starts 25000 --policy-frequency 2"
)

# Each script's preset and its own defaults, which flags after them override.
SCRIPTS = {
    "ddpg_continuous_action": f"--preset ddpg {COMMON}",
    "td3_continuous_action": f"--preset td3 {COMMON} --policy-noise 0.2 --noise-clip 0.5",
}

# Flags for what always happens here: each run keeps its policy, and nothing is uploaded.
SILENT = ("--save-model", "--no-save-model", "--no-upload-model")
TRUTHS = ("true", "false")


def translated(words: Sequence[str]) -> list[str]:
    """The words of `swingup train`, where they may be a CleanRL command line.

    A script's name as the first word (`td3_continuous_action.py`, in any folder) stands for its defaults.
    InputError, with our word for it, for --upload-model.
    """
    out: list[str] = []
    queue = list(words)
    if queue and (script := Path(queue[0]).stem.removesuffix("_jax")) in SCRIPTS and queue[0].endswith(".py"):
        queue.pop(0)
        out += SCRIPTS[script].split()
    while queue:
        word = queue.pop(0)
        name, _, value = word.replace("_", "-").partition("=")
        if name in ("--track", "--no-track"):
            out += tracked(name, value, queue)
            continue
        if name in SILENT or name in ("--upload-model", "--hf-entity"):
            takes = name == "--hf-entity" or (queue and queue[0].lower() in TRUTHS)
            value = value or (queue.pop(0) if takes and queue else "")
            if name == "--upload-model" and value.lower() != "false":
                raise InputError(
                    "--upload-model: nothing is uploaded; the run's policy is its policy/last.safetensors"
                )
            continue
        out.append(word)
    return out


def tracked(name: str, value: str, queue: list[str]) -> list[str]:
    """`--track` with a service's name; CleanRL's is alone, or has true or false after it, and means wandb.

    queue: the words after it; one that is its value is taken from there.
    """
    known = (*get_args(TrackerName), *TRUTHS, "none")
    if not value and queue and (queue[0].lower() in known or nearest(queue[0], known)):
        value = queue.pop(0)
    if name == "--no-track" or value.lower() == "false":
        return ["--track=none"]
    return [f"--track={value if value.lower() not in ('', 'true') else 'wandb'}"]
