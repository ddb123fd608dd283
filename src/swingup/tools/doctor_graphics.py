"""Checks of rendering, video and windows, in child processes: a broken driver must not stop the diagnosis."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import util
from typing import Any, NamedTuple

import numpy as np

from swingup.tools.doctor_packages import Check
from swingup.tools.subprocess_call import ask


class Trial(NamedTuple):
    """A function to call in a child process if `module` is installed; how to install and how to repair it."""

    name: str
    module: str
    call: tuple[str, Sequence[Any]]
    install: str
    repair: str


def trials() -> list[Trial]:
    """The trials of rendering and video."""
    from swingup.envs.rendering import MESA, display

    mesa = MESA if sys.platform == "linux" else "update the graphics driver"
    if display() or os.environ.get("MUJOCO_GL", "egl") != "egl":
        mesa = f"export MUJOCO_GL=egl, which needs: {mesa}"
    again = "pip install --force-reinstall"
    return [
        Trial(
            "pictures",
            "pygame",
            ("tools.doctor_graphics:draw_one_frame", ["Pendulum-v1"]),
            "pip install pygame-ce",
            f"{again} pygame-ce",
        ),
        Trial(
            "MuJoCo",
            "mujoco",
            ("tools.doctor_graphics:draw_one_frame", ["InvertedPendulum-v5"]),
            "pip install 'swingup[mujoco]'",
            mesa,
        ),
        Trial(
            "Box2D",
            "Box2D",
            ("tools.doctor_graphics:draw_one_frame", ["BipedalWalker-v3"]),
            "pip install 'swingup[box2d]'",
            f"{again} 'swingup[box2d]'",
        ),
        Trial(
            "video",
            "av",
            ("tools.doctor_graphics:encode", []),
            "pip install av",
            f"{again} --no-cache-dir av",
        ),
    ]


def attempt(trial: Trial) -> Check:
    """Run a trial; never raises."""
    if util.find_spec(trial.module) is None:
        return Check(trial.name, "missing", f"{trial.module} is not installed", trial.install)
    answer = ask(*trial.call)
    return (
        Check(trial.name, "broken", answer.error, trial.repair)
        if answer.error
        else Check(trial.name, "ok", answer.value)
    )


def window() -> Check:
    """Whether a window can be opened to watch an episode."""
    from swingup.envs.rendering import display

    if not display():
        return Check(
            "window", "missing", "no display here: episodes cannot be watched live, videos can be made"
        )
    answer = ask("tools.doctor_graphics:open_display")
    if answer.error:
        return Check(
            "window",
            "broken",
            answer.error,
            "check DISPLAY and SDL_VIDEODRIVER; over ssh, connect with ssh -X",
        )
    return Check("window", "ok", answer.value)


def draw_one_frame(env: str) -> str:
    """In a child process: render a frame of an environment; raises where that fails or it is blank."""
    from swingup.envs.rendering import headless

    headless()
    import gymnasium

    made = gymnasium.make(env, render_mode="rgb_array")
    made.reset(seed=0)
    frame: Any = made.render()
    if not np.std(frame):
        raise RuntimeError(f"the frame of {env} is blank")
    return f"{env} drawn, {frame.shape[1]} x {frame.shape[0]} pixels"


def encode() -> str:
    """In a child process: encode three frames as H.264, in memory; raises where PyAV cannot."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream: Any = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for shade in (0, 127, 255):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8), "rgb24")))
        out.mux(stream.encode())
    return f"3 frames encoded as H.264, {file.tell():,} bytes"


def open_display() -> str:
    """In a child process: the driver that windows would use; raises where there is none."""
    import pygame

    pygame.display.init()
    driver = pygame.display.get_driver()
    if driver in ("dummy", "offscreen"):
        raise RuntimeError(f"no display found, SDL uses its driver {driver}")
    return f"windows open through {driver}"
