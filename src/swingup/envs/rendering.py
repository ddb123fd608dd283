"""Environments that render: their render mode, graphics libraries, cameras and frames."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

import gymnasium

from swingup.envs.closing import PATIENCE, failure
from swingup.errors import InputError

# Frames per second if the environment's metadata gives none.
FPS = 30

# Matches the errors of MuJoCo's three renderers: "no attribute 'eglQueryString'", "an EGL device display" ...
GRAPHICS = re.compile(r"\b(egl|gl)[A-Z]|gladLoad|EGL|GLFW|OSMesa|OpenGL")

MESA = "apt-get install libegl1 libgl1-mesa-dri"


def rendering(make: Callable[[], gymnasium.Env], mode: str, name: str) -> gymnasium.Env:
    """Create an environment with `make` and check that it has this render_mode, "rgb_array" or "human".

    name: the environment's, for messages. InputError if its mode differs or a graphics library is missing.
    """
    if mode == "rgb_array":
        headless()
    try:
        env = make()
    except Exception as error:
        # MuJoCo loads its graphics library when it is imported, so a missing one already fails here.
        if GRAPHICS.search(str(error)):
            raise renderer_fault(name, error) from error
        raise
    try:
        check_mode(env, mode, name)
    except InputError:
        failure(env.close, PATIENCE)
        raise
    track_camera(env)
    return env


def check_mode(env: gymnasium.Env, mode: str, name: str) -> None:
    """InputError unless the environment was created with this render mode."""
    if env.render_mode != mode:
        raise InputError(
            f"environment {name}: it was made with render_mode {env.render_mode!r}, this needs {mode!r}; "
            "a class takes render_mode in its constructor and keeps it (self.render_mode), a function "
            f"passes it on, for example `lambda: {type(env.unwrapped).__name__}(render_mode={mode!r})`"
        )


def track_camera(env: gymnasium.Env) -> None:
    """Let MuJoCo's camera track the body, unless the environment was created with a chosen camera.

    Since Gymnasium 1.4 (its pull request 1618) it stays still otherwise: a cheetah leaves view in a second.
    """
    chosen = env.spec is not None and any("camera" in key for key in env.spec.kwargs)
    renderer: Any = getattr(env.unwrapped, "mujoco_renderer", None)
    if not chosen and getattr(renderer, "camera_id", None) == -1:
        import mujoco

        renderer.camera_id = mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")


def render_frame(env: gymnasium.Env, name: str) -> Any:
    """What render() returns; InputError with the likely fix if it raises."""
    try:
        return env.render()
    except Exception as error:
        raise renderer_fault(name, error) from error


def fps_of(env: gymnasium.Env) -> float:
    """The frames per second that the environment declares, or FPS."""
    return env.metadata.get("render_fps") or FPS


def renderer_fault(env_id: str, error: BaseException) -> InputError:
    """The one-line error for an environment that cannot be drawn: why, and what to install if known."""
    why = error.__cause__ if isinstance(error, InputError) and error.__cause__ else error
    fix = "see whether its render() works on its own"
    if GRAPHICS.search(str(why)):
        fix = MESA if os.environ.get("MUJOCO_GL") == "egl" else f"set MUJOCO_GL=egl, which needs: {MESA}"
    return InputError(f"environment {env_id}: it cannot be drawn ({one_line(why)}); {fix}")


def one_line(error: BaseException) -> str:
    """An error as one line: an InputError as it is, others preceded by their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def display() -> bool:
    """Whether a window can be opened, judged by the environment variables."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def headless() -> None:
    """Let MuJoCo and pygame draw without a display where there is none, unless the user has chosen how.

    MUJOCO_GL=egl and SDL_VIDEODRIVER=dummy are read at the first frame, so it may be called after import.
    SDL_AUDIODRIVER=dummy, because pygame also opens a sound device, and ALSA prints errors where none is.
    """
    if not display():
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


def need_display(what: str) -> None:
    """Raise InputError where there is no display for a window; `what` asked for it, e.g. "--render"."""
    if not display():
        raise InputError(
            f"{what}: no display: neither DISPLAY nor WAYLAND_DISPLAY is set; "
            "use `swingup video RUN`, which writes files to watch elsewhere"
        )
