"""Videos of training and greedy episodes, and live play in a window. Writing needs PyAV but not JAX."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from swingup.core.policy import Policy
from swingup.envs.closing import closing
from swingup.envs.gym_env import GymEnv
from swingup.envs.gym_ids import name_of
from swingup.envs.rendering import (
    check_mode,
    fps_of,
    need_display,
    one_line,
    render_frame,
    rendering,
    track_camera,
)
from swingup.errors import EnvFault, InputError
from swingup.loops.evaluation import ENDLESS, Evaluation, evaluate_policy, never_ends
from swingup.seeding import EVALUATE, episode_seed

CUBES = frozenset(k**3 for k in range(10))

# The same frames give the same bytes: x264's choices depend on the number of threads and, with the macroblock
# tree, on memory that it never wrote. One thread also leaves the other cores to training.
ENCODER = {"preset": "veryfast", "crf": "23", "threads": "1", "mbtree": "0"}


class Clip(NamedTuple):
    """One filmed episode: its file, its return and its length in steps."""

    path: Path
    ret: float
    length: int


def cubic(episode: int) -> bool:
    """Whether the 2017 Gym monitor films this episode: 0, 1, 8, 27 ... 729, then every thousandth."""
    return episode in CUBES if episode < 1000 else episode % 1000 == 0


class Movie:
    """An MP4 file (H.264, plays in browsers), written frame by frame; an exception in `with` leaves no file.

    fps: frames per second. Until `close` the data is in a hidden part file beside `path`. Every method raises
    a one-line InputError where PyAV is not installed or the file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float):
        self.av, self.path, self.rate = pyav(), Path(path), frame_rate(fps)
        # Absolute, because FFmpeg reads the text before the first colon of a relative path as a protocol.
        self.part = self.path.absolute().with_name(f".{self.path.name}.part")
        self.shape: tuple[int, ...] = ()
        self.frames = 0
        self.stream: Any = None
        with writing(self.path):
            self.part.parent.mkdir(parents=True, exist_ok=True)
            self.container: Any = self.av.open(
                str(self.part), "w", format="mp4", options={"movflags": "+faststart"}
            )

    def add(self, frame: np.ndarray) -> None:
        """Append frame[H, W, 3], uint8 RGB, padded to even sizes; InputError for another kind or size."""
        check_frame(frame, self.shape)
        if self.container is None:
            raise InputError(f"{self.path}: this video is finished; begin another one")
        height, width, _ = self.shape = frame.shape
        pixels = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        with writing(self.path):
            if self.stream is None:
                self.stream = self.open_stream(*pixels.shape[:2])
            picture = self.av.VideoFrame.from_ndarray(pixels, "rgb24")
            picture.pts, picture.time_base = self.frames, 1 / self.rate
            self.container.mux(self.stream.encode(picture))
        self.frames += 1

    def open_stream(self, height: int, width: int) -> Any:
        """Add the H.264 stream, for frames of this size, to the file."""
        stream = self.container.add_stream("libx264", self.rate, options=ENCODER)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        # The conversion from RGB gives BT.601, limited range; without these two tags players have to guess.
        stream.codec_context.colorspace, stream.codec_context.color_range = 6, 1
        return stream

    def close(self) -> None:
        """Finish the file and move it to `path`; without a frame no file is made."""
        if self.container is None or not self.frames:
            return self.abandon()
        try:
            with writing(self.path):
                self.container.mux(self.stream.encode())
                self.container.close()
                os.replace(self.part, self.path)
                self.container = None
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Discard an unfinished file; never raises."""
        if self.container is not None:
            with suppress(Exception):
                self.container.close()
            with suppress(OSError):
                self.part.unlink(missing_ok=True)
        self.container = None

    def __enter__(self) -> Movie:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def pyav() -> Any:
    """The module `av`; InputError where it cannot be imported."""
    try:
        import av
    except ImportError as error:
        raise InputError(f"video: PyAV cannot be imported ({one_line(error)}); pip install av") from error
    return av


def frame_rate(fps: float) -> Fraction:
    """`fps` as a fraction; InputError where it is not a number above 0."""
    try:
        rate = Fraction(float(fps)).limit_denominator(1001)
    except (TypeError, ValueError, OverflowError):
        rate = Fraction(0)
    if rate <= 0:
        raise InputError(
            f"video: {fps!r} frames per second; expected a number above 0, see the environment's render_fps"
        )
    return rate


def check_frame(frame: Any, shape: tuple[int, ...]) -> None:
    """InputError unless frame is uint8[H, W, 3] and, if `shape` is not empty, has that shape."""
    if not isinstance(frame, np.ndarray):
        raise InputError(
            f"video: render() returned a {type(frame).__name__}; expected an array, uint8 [height, width, 3]"
        )
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise InputError(
            f"video: a frame is {frame.dtype} {list(frame.shape)}; expected uint8 [height, width, 3]"
        )
    if shape and frame.shape != shape:
        raise InputError(
            f"video: a frame is {list(frame.shape)}, the first was {list(shape)}; a video has one size"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any error of the encoder or the disk into a one-line InputError that names the video."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{path}: the video cannot be written ({one_line(error)})") from error


class Recorder(gymnasium.Wrapper):
    """Films episodes of an environment (made with render_mode="rgb_array") where `wanted(episode)` is true.

    Episode k (the k-th reset, from 0) becomes folder/episode-{k:06d}.mp4 at the next reset or close, if it
    has two frames: one after reset, one after each step. Other episodes are not rendered, and what the
    environment returns is passed on unchanged. Where rendering, encoding or the disk fails, `warn` gets one
    line, once, and the environment continues without video. The constructor raises InputError where PyAV is
    not installed or render_mode is another.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        folder: str | Path,
        wanted: Callable[[int], bool],
        warn: Callable[[str], Any],
    ):
        pyav()
        self.name = name_of(env)
        check_mode(env, "rgb_array", self.name)
        track_camera(env)
        super().__init__(env)
        self.folder, self.wanted, self.warn = Path(folder), wanted, warn
        self.episode, self.broken = -1, False
        self.movie: Movie | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        self.guard(self.finish_movie)
        result = self.env.reset(seed=seed, options=options)
        self.episode += 1
        self.guard(self.start_movie)
        return result

    def step(self, action: Any) -> Any:
        result = self.env.step(action)
        self.guard(self.shoot)
        return result

    def close(self) -> None:
        self.guard(self.finish_movie)
        self.env.close()

    def start_movie(self) -> None:
        """Start a video of this episode, if it is wanted."""
        if self.wanted(self.episode):
            self.movie = Movie(self.folder / f"episode-{self.episode:06d}.mp4", fps_of(self.env))
            self.shoot()

    def shoot(self) -> None:
        """Append the current frame to the video, if there is one."""
        if self.movie is not None:
            self.movie.add(render_frame(self.env, self.name))

    def finish_movie(self) -> None:
        """Finish the video, or discard one of a single frame."""
        movie, self.movie = self.movie, None
        if movie is not None and movie.frames > 1:
            movie.close()
        elif movie is not None:
            movie.abandon()

    def guard(self, do: Callable[[], None]) -> None:
        """Call `do` unless an earlier call failed; a failure is reported to `warn` and ends filming."""
        if self.broken:
            return
        try:
            do()
        except Exception as error:
            self.broken = True
            if self.movie is not None:
                self.movie.abandon()
            self.warn(f"warning: {one_line(error)}; training goes on without video")


def film(
    policy: Policy,
    make: Callable[[], gymnasium.Env],
    path_of: Callable[[int], Path],
    episodes: int,
    seed: int,
    limit: int | None = None,
) -> list[Clip]:
    """Play greedy episodes, those of an evaluation with this seed, and write episode k to path_of(k).

    make: makes the environment, with render_mode="rgb_array"; limit: steps after which an episode is
    truncated. Raises InputError where the environment cannot be made or rendered or the file cannot be
    written, EnvFault where it breaks its contract; videos finished before that stay.
    """
    env = GymEnv(lambda: rendering(make, "rgb_array", policy.spec.env), 1, policy.spec.env, limit)
    with closing(env):
        policy.check(env.spec)
        return [
            shoot_one(policy, env, path_of(k), int(episode_seed(seed, EVALUATE, 0, k)))
            for k in range(episodes)
        ]


def shoot_one(policy: Policy, env: GymEnv, path: Path, seed: int) -> Clip:
    """Play and film one greedy episode."""
    scene, name = env.envs[0], policy.spec.env
    ret, length, over = 0.0, 0, False
    with Movie(path, fps_of(scene)) as movie:
        obs = env.reset([seed])
        policy.reset()
        movie.add(render_frame(scene, name))
        while not over:
            if length >= ENDLESS:
                raise EnvFault(f"environment {name}: {never_ends(ENDLESS)}")
            step = env.step(policy.act(obs))
            movie.add(render_frame(scene, name))
            obs, ret, length = step.obs, ret + float(step.reward[0]), length + 1
            over = bool(step.terminated[0] or step.truncated[0])
    return Clip(path, ret, length)


def watch(
    policy: Policy, make: Callable[[], gymnasium.Env], episodes: int, seed: int, limit: int | None = None
) -> Evaluation:
    """Play greedy episodes, those of an evaluation with this seed, in a window.

    make: makes the environment, with render_mode="human". Raises InputError where there is no display.
    """
    need_display("watch")
    env = GymEnv(lambda: rendering(make, "human", policy.spec.env), 1, policy.spec.env, limit)
    with closing(env):
        return evaluate_policy(policy, env, episodes, seed)


def inline(path: str | Path, shows: str) -> str:
    """An MP4 file as an HTML <video> tag that contains it, for notebooks; InputError if it is unreadable.

    shows: what a screen reader says in its place.
    """
    try:
        data = base64.b64encode(Path(path).read_bytes()).decode()
    except OSError as error:
        raise InputError(f"{path}: the video cannot be read ({error.strerror})") from error
    label = html.escape(shows)
    return (
        f'<video controls loop muted playsinline style="max-width: 100%" aria-label="{label}" '
        f'src="data:video/mp4;base64,{data}"></video>'
    )
