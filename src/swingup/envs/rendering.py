"""Environments that draw: their render mode, graphics libraries, cameras and frames."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

import gymnasium

from swingup.errors import InputError

# Frames per second where the environment does not say.
FPS = 30

# How the failures of MuJoCo's three ways of drawing look: "no attribute 'eglQueryString'", "an EGL device display" ...
GRAPHICS = re.compile(r"\b(egl|gl)[A-Z]|gladLoad|EGL|GLFW|OSMesa|OpenGL")

MESA = "apt-get install libegl1 libgl1-mesa-dri"


def rendering(make: Callable[[], gymnasium.Env], mode: str, name: str) -> gymnasium.Env:
    """An environment that draws: made by `make`, checked to have this render_mode, "rgb_array" or "human".

    name: the environment's, for messages. Raises InputError where its mode is another or a graphics library is missing.
    """
    if mode == "rgb_array":
        headless()
    try:
        env = make()
    except Exception as error:
        # MuJoCo looks for its graphics library when it is imported, so a missing one shows before anything is drawn.
        if GRAPHICS.search(str(error)):
            raise renderer_fault(name, error) from error
        raise
    try:
        check_mode(env, mode, name)
    except InputError:
        env.close()
        raise
    follow(env)
    return env


def check_mode(env: gymnasium.Env, mode: str, name: str) -> None:
    if env.render_mode != mode:
        raise InputError(
            f"environment {name}: it was made with render_mode {env.render_mode!r}, this needs {mode!r}; "
            f"let your function make it so, for example `lambda: {type(env.unwrapped).__name__}(render_mode={mode!r})`"
        )


def follow(env: gymnasium.Env) -> None:
    """Let MuJoCo's camera go where the body goes, unless the environment was made with a camera of the user's choice.

    Since Gymnasium 1.4 (its pull request 1618) it stays behind otherwise, and a cheetah leaves the picture in a second.
    """
    chosen = env.spec is not None and any("camera" in key for key in env.spec.kwargs)
    renderer: Any = getattr(env.unwrapped, "mujoco_renderer", None)
    if not chosen and getattr(renderer, "camera_id", None) == -1:
        import mujoco

        renderer.camera_id = mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")


def draw(env: gymnasium.Env, name: str) -> Any:
    """What render() returns; InputError with the likely fix where it raises."""
    try:
        return env.render()
    except Exception as error:
        raise renderer_fault(name, error) from error


def fps_of(env: gymnasium.Env) -> float:
    return env.metadata.get("render_fps") or FPS


def renderer_fault(env_id: str, error: BaseException) -> InputError:
    """The one-line error for an environment that cannot be drawn: why, and what to install where that is known."""
    why = error.__cause__ if isinstance(error, InputError) and error.__cause__ else error
    fix = "see whether its render() works on its own"
    if GRAPHICS.search(str(why)):
        fix = MESA if os.environ.get("MUJOCO_GL") == "egl" else f"set MUJOCO_GL=egl, which needs: {MESA}"
    return InputError(f"environment {env_id}: it cannot be drawn ({one_line(why)}); {fix}")


def one_line(error: BaseException) -> str:
    """An error as one line: our own as they are, others with their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def display() -> bool:
    """Whether a window can be opened, as far as the environment variables tell."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def headless() -> None:
    """Let MuJoCo and pygame draw without a display where there is none, unless the user has chosen how.

    MUJOCO_GL=egl and SDL_VIDEODRIVER=dummy are read when the first frame is drawn, so this also works after their import.
    """
    if not display():
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def need_display(what: str) -> None:
    """Raise InputError where there is no display to open a window on; `what` is what asked for one, e.g. "--render"."""
    if not display():
        raise InputError(
            f"{what}: no display: neither DISPLAY nor WAYLAND_DISPLAY is set; "
            "use `swingup video RUN`, which writes files to watch elsewhere"
        )
