"""Videos decode to exactly the frames that were drawn, and no failure of theirs reaches training."""

import base64
import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import gymnasium
import numpy as np
import pytest

from swingup.core.policy import Policy
from swingup.envs import rendering
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.envs.rendering import headless, need_display, renderer_fault
from swingup.errors import EnvFault, InputError
from swingup.loops.evaluation import evaluate_policy
from swingup.reports.video import Movie, Recorder, cubic, film, inline, watch
from swingup.seeding import EVALUATE, episode_seed

av = pytest.importorskip("av")


def gray(t):
    return 30 + 3 * t


class Gray(gymnasium.Env):
    """Draws its step number as a gray level; observations and rewards are drawn from its seed."""

    metadata: ClassVar = {"render_modes": ["rgb_array", "human"], "render_fps": 25}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, steps=20, size=(48, 64), render_mode="rgb_array", fail_at=10**9):
        self.steps, self.size, self.render_mode, self.fail_at = steps, size, render_mode, fail_at
        self.seeds, self.drawn = [], 0

    def observe(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.t = 0
        return self.observe(), {"options": options}

    def step(self, action):
        self.t += 1
        if self.t == self.fail_at:
            raise ZeroDivisionError("the physics broke")
        return (
            self.observe(),
            float(self.np_random.normal() + action[0]),
            False,
            self.t >= self.steps,
            {"t": self.t},
        )

    def render(self):
        self.drawn += 1
        return np.full((*self.size, 3), gray(self.t), np.uint8)


class Half:
    """An actor that always pushes half as hard as it can."""

    def apply(self, params, obs):
        return np.full((*obs.shape[:-1], 1), 0.5, np.float32)


def greedy(make=Gray):
    env = GymEnv(make)
    try:
        return Policy(Half(), (), env.spec)
    finally:
        env.close()


def decode(path):
    """The frames[T, H, W, 3] of a video."""
    with av.open(str(path)) as container:
        return np.array([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def levels(path):
    """The gray level of every frame; all pixels of a frame must have it."""
    frames = decode(path).astype(int)
    assert np.ptp(frames, axis=(1, 2, 3)).max() <= 3
    return frames.mean(axis=(1, 2, 3))


def write(path, frames, fps=25):
    with Movie(path, fps) as movie:
        for frame in frames:
            movie.add(frame)


def test_the_schedule_of_the_2017_monitor():
    assert [e for e in range(4001) if cubic(e)] == [
        0,
        1,
        8,
        27,
        64,
        125,
        216,
        343,
        512,
        729,
        1000,
        2000,
        3000,
        4000,
    ]
    assert cubic(10**18)
    assert not cubic((10**6 + 1) ** 3)


def test_a_video_holds_the_frames_in_order_in_a_form_that_browsers_play(tmp_path):
    path = tmp_path / "deep" / "er" / "a.mp4"
    write(path, [np.full((48, 64, 3), gray(t), np.uint8) for t in range(60)])
    assert np.abs(levels(path) - [gray(t) for t in range(60)]).max() <= 2
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate, stream.frames) == (64, 48, 25, 60)
        assert float(stream.duration * stream.time_base) == 60 / 25
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_colours_come_back_as_they_were(tmp_path):
    colours = [(204, 77, 77), (0, 255, 0), (20, 40, 250), (255, 255, 255), (0, 0, 0)]
    write(tmp_path / "a.mp4", [np.broadcast_to(np.uint8(c), (32, 32, 3)) for c in colours])
    assert np.abs(decode(tmp_path / "a.mp4")[:, 16, 16].astype(int) - colours).max() <= 3
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (6, 1)  # BT.601 and limited range, written down


@pytest.mark.parametrize("size", [(33, 50), (50, 33), (33, 33), (1, 1)])
def test_odd_sizes_are_padded_to_even_with_their_own_edge(tmp_path, size):
    frames = [np.full((*size, 3), gray(t), np.uint8) for t in range(5)]
    write(tmp_path / "a.mp4", frames)
    assert decode(tmp_path / "a.mp4").shape == (5, size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert np.abs(levels(tmp_path / "a.mp4") - [gray(t) for t in range(5)]).max() <= 2


def test_a_flipped_view_is_written_the_right_way_up(tmp_path):
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[:16] = 200
    write(tmp_path / "a.mp4", [frame[::-1]] * 3)  # negative strides, as MuJoCo gives
    shown = decode(tmp_path / "a.mp4")[0]
    assert shown[4].mean() < 5
    assert shown[28].mean() > 195


def test_the_same_frames_give_the_same_bytes(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (20, 34, 34, 3), np.uint8)
    seen = set()
    for size in range(8, 108, 10):  # videos of other sizes in between leave other things in memory
        write(tmp_path / "other.mp4", [np.full((size, 2 * size, 3), size, np.uint8)] * 3)
        write(tmp_path / "a.mp4", frames)
        seen.add((tmp_path / "a.mp4").read_bytes())
    assert len(seen) == 1


def test_a_reader_never_sees_half_a_video(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("the one before")
    with Movie(path, 30) as movie:
        for t in range(40):
            movie.add(np.full((32, 32, 3), t, np.uint8))
            assert path.read_text() == "the one before"
        assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["a.mp4"]
    assert len(decode(path)) == 40
    assert os.listdir(tmp_path) == ["a.mp4"]
    movie.close()
    with pytest.raises(InputError, match="this video is finished"):
        movie.add(np.zeros((32, 32, 3), np.uint8))
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_an_exception_or_no_frame_at_all_leaves_nothing(tmp_path):
    def frames():
        yield np.zeros((32, 32, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.mp4", frames())
    Movie(tmp_path / "b.mp4", 30).close()
    assert os.listdir(tmp_path) == []


def test_a_path_with_a_colon_is_a_path_and_not_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("module:Env-v0.mp4", np.zeros((3, 32, 32, 3), np.uint8))
    assert len(decode(tmp_path / "module:Env-v0.mp4")) == 3


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "render.. returned a NoneType"),
        ([np.zeros((8, 8, 3), np.uint8)], "returned a list"),
        (np.zeros((8, 8, 3), np.float32), r"a frame is float32 \[8, 8, 3\]"),
        (np.zeros((8, 8), np.uint8), r"a frame is uint8 \[8, 8\]"),
        (np.zeros((8, 8, 4), np.uint8), r"\[8, 8, 4\]; expected uint8"),
        (np.zeros((0, 8, 3), np.uint8), r"\[0, 8, 3\]"),
        (np.zeros((32, 30, 3), np.uint8), r"a frame is \[32, 30, 3\], the first was \[32, 32, 3\]"),
    ],
)
def test_a_wrong_frame_is_refused_in_one_line_and_the_video_goes_on(tmp_path, frame, message):
    good = np.zeros((32, 32, 3), np.uint8)
    with Movie(tmp_path / "a.mp4", 30) as movie:
        movie.add(good)
        with pytest.raises(InputError, match=message) as caught:
            movie.add(frame)
        movie.add(good)
    assert "\n" not in str(caught.value)
    assert len(decode(tmp_path / "a.mp4")) == 2


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "fast", None])
def test_a_wrong_speed_is_refused(tmp_path, fps):
    with pytest.raises(InputError, match="frames per second; expected a number above 0"):
        Movie(tmp_path / "a.mp4", fps)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_length(tmp_path):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    frame = np.zeros((160, 160, 3), np.uint8)
    with Movie(tmp_path / "a.mp4", 30) as movie:
        for t in range(2000):
            frame[:, t % 160] += 40
            movie.add(frame)
            if t == 200:
                before = resident()
        grown = resident() - before
    assert grown < 10e6, (
        f"{grown / 1e6:.0f} MB for 1,800 frames, which are {1800 * frame.nbytes / 1e6:.0f} MB"
    )


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(InputError, match=r"the video cannot be written .*File too large") as caught:
            write(tmp_path / "a.mp4", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_without_pyav_the_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for attempt in (lambda: Movie(tmp_path / "a.mp4", 30), lambda: Recorder(Gray(), tmp_path, cubic, print)):
        with pytest.raises(InputError, match=r"; pip install av$"):
            attempt()


def drive(env, episodes=4, steps=20):
    """Whatever an environment answers to fixed actions in seeded episodes."""
    seen, push = [], np.ones(env.action_space.shape, np.float32)
    for k in range(episodes):
        seen.append(env.reset(seed=k))
        seen += [env.step(push * np.float32(np.sin(t))) for t in range(steps)]
    env.close()
    return seen


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x[0], y[0]) and x[1:] == y[1:] for x, y in zip(a, b, strict=True)
    )


def test_the_recorder_films_the_wanted_episodes_and_changes_nothing(tmp_path):
    inner, warnings = Gray(), []
    assert same(drive(Recorder(inner, tmp_path / "videos", cubic, warnings.append), 9), drive(Gray(), 9))
    assert sorted(os.listdir(tmp_path / "videos")) == [f"episode-00000{k}.mp4" for k in (0, 1, 8)]
    for path in (tmp_path / "videos").iterdir():
        assert np.abs(levels(path) - [gray(t) for t in range(21)]).max() <= 2
    assert inner.drawn == 3 * 21  # nothing is drawn in the others
    assert warnings == []


def test_a_value_passes_through_as_the_very_object(tmp_path):
    class Odd(Gray):
        def step(self, action):
            super().step(action)
            return answers[-1]

    answers = [{"not": "a step"}]
    env = Recorder(Odd(), tmp_path, lambda k: True, pytest.fail)
    assert env.reset(seed=1, options={"a": 1})[1] == {"options": {"a": 1}}
    assert env.step(np.zeros(1)) is answers[0]
    assert env.unwrapped.seeds == [1]
    env.close()


def test_an_episode_that_is_cut_off_is_kept_from_two_frames_on(tmp_path):
    env = Recorder(Gray(), tmp_path, lambda k: True, pytest.fail)
    for steps in (3, 0, 1, 5):
        env.reset()
        for _ in range(steps):
            env.step(np.zeros(1))
    env.close()
    env.close()
    assert {p.name: len(decode(p)) for p in tmp_path.iterdir()} == {
        "episode-000000.mp4": 4, "episode-000002.mp4": 2, "episode-000003.mp4": 6,
    }  # fmt: skip


def test_the_speed_is_the_environments_or_thirty(tmp_path):
    class Silent(Gray):
        metadata: ClassVar = {"render_modes": ["rgb_array"]}

    for make, rate in ((Gray, 25), (Silent, 30)):
        drive(Recorder(make(), tmp_path / make.__name__, lambda k: True, pytest.fail), 1)
        with av.open(str(tmp_path / make.__name__ / "episode-000000.mp4")) as container:
            assert container.streams.video[0].average_rate == rate


def broken_render(folder, monkeypatch):
    def render(self):
        if self.t == 7:
            raise RuntimeError("no\ncontext")
        return draw(self)

    draw = Gray.render
    monkeypatch.setattr(Gray, "render", render)
    return "environment Gray: it cannot be drawn .RuntimeError: no context."


def changing_size(folder, monkeypatch):
    monkeypatch.setattr(Gray, "render", lambda self: np.zeros((32 + self.t, 32, 3), np.uint8))
    return "a video has one size"


def broken_encoder(folder, monkeypatch):
    class Encoder:
        def encode(self, *frame):
            raise av.error.ExternalError(-542398533, "Generic error")

    monkeypatch.setattr(Movie, "open_stream", lambda *_: Encoder())
    return "episode-000000.mp4: the video cannot be written .ExternalError"


def removed_folder(folder, monkeypatch):
    def render(self):
        if self.t == 7:
            shutil.rmtree(folder)
        return draw(self)

    draw = Gray.render
    monkeypatch.setattr(Gray, "render", render)
    return "the video cannot be written .FileNotFoundError"


def no_folder(folder, monkeypatch):
    folder.write_text("a file in its place")
    return "the video cannot be written .FileExistsError"


def broken_schedule(folder, monkeypatch):
    return "ZeroDivisionError"


@pytest.mark.parametrize(
    "breaks", [broken_render, changing_size, broken_encoder, removed_folder, no_folder, broken_schedule]
)
def test_a_failure_warns_once_and_training_does_not_notice(tmp_path, monkeypatch, breaks):
    folder, warnings = tmp_path / "videos", []
    message = breaks(folder, monkeypatch)
    wanted = (lambda k: 1 // 0) if breaks is broken_schedule else (lambda k: True)
    assert same(drive(Recorder(Gray(), folder, wanted, warnings.append)), drive(Gray()))
    assert len(warnings) == 1
    assert re.search(message, warnings[0])
    assert warnings[0].startswith("warning: ")
    assert warnings[0].endswith("; training goes on without video")
    assert "\n" not in warnings[0]
    assert [p for p in tmp_path.rglob("*") if p.suffix in (".mp4", ".part")] == []


def test_what_the_environment_raises_is_not_swallowed_and_the_episode_until_then_is_kept(tmp_path):
    env = GymEnv(lambda: Recorder(Gray(fail_at=6), tmp_path, cubic, pytest.fail))
    env.reset([0])
    push = np.zeros((1, 1), np.float32)
    for _ in range(5):
        env.step(push)
    with pytest.raises(
        EnvFault, match=r"environment Gray \[0\], episode 0, step 6: it raised ZeroDivisionError"
    ):
        env.step(push)
    env.close()
    assert len(decode(tmp_path / "episode-000000.mp4")) == 6


def test_film_plays_the_episodes_of_an_evaluation(tmp_path):
    inner = []

    def make():
        inner.append(Gray())
        return inner[0]

    clips = film(greedy(), make, lambda k: tmp_path / f"greedy-{k}.mp4", 3, 7)
    expected = evaluate_policy(greedy(), GymEnv(Gray), 3, 7)
    assert [c.path for c in clips] == [tmp_path / f"greedy-{k}.mp4" for k in range(3)]
    assert tuple(c.ret for c in clips) == expected.returns
    assert tuple(c.length for c in clips) == expected.lengths
    assert inner[0].seeds == [episode_seed(7, EVALUATE, 0, k) for k in range(3)]
    for clip in clips:
        assert np.abs(levels(clip.path) - [gray(t) for t in range(21)]).max() <= 2


def test_film_fails_in_one_line_and_keeps_the_clips_before(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.a\.mp4: the video cannot be written") as caught:
        film(greedy(), Gray, lambda k: tmp_path / "file" / "a.mp4", 1, 0)
    assert "\n" not in str(caught.value)

    class Tiring(Gray):
        def step(self, action):
            self.fail_at = 3 if len(self.seeds) == 2 else 10**9
            return super().step(action)

    with pytest.raises(EnvFault, match="the physics broke"):
        film(greedy(), Tiring, lambda k: tmp_path / "films" / f"{k}.mp4", 3, 0)
    assert os.listdir(tmp_path / "films") == ["0.mp4"]


def test_watch_plays_the_episodes_of_an_evaluation_in_a_window(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    played = watch(greedy(), lambda: Gray(render_mode="human"), 3, 7)
    assert played == evaluate_policy(greedy(), GymEnv(Gray), 3, 7)


def test_a_factory_that_draws_otherwise_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    silent = lambda: Gray(render_mode=None)
    for mode, attempt in (
        ("rgb_array", lambda: film(greedy(), silent, lambda k: tmp_path / "a.mp4", 1, 0)),
        ("rgb_array", lambda: Recorder(silent(), tmp_path, cubic, print)),
        ("human", lambda: watch(greedy(), silent, 1, 0)),
    ):
        with pytest.raises(
            InputError, match=f"environment Gray: .*render_mode None, this needs '{mode}'"
        ) as caught:
            attempt()
        assert f"lambda: Gray(render_mode='{mode}')" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("platform", "x", "wayland", "there"),
    [
        ("linux", "", "", False), ("linux", ":0", "", True), ("linux", "", "wayland-0", True),
        ("darwin", "", "", True), ("win32", "", "", True),
    ],
)  # fmt: skip
def test_where_there_is_a_display(monkeypatch, platform, x, wayland, there):
    monkeypatch.setattr(rendering.sys, "platform", platform)
    for name, value in {
        "DISPLAY": x,
        "WAYLAND_DISPLAY": wayland,
        "MUJOCO_GL": "mine",
        "SDL_VIDEODRIVER": "mine",
        "SDL_AUDIODRIVER": "mine",
    }.items():
        monkeypatch.setenv(name, value)
    headless()
    chosen = ("MUJOCO_GL", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER")
    assert [os.environ[name] for name in chosen] == ["mine"] * 3
    for name in chosen:
        monkeypatch.delenv(name)
    headless()
    assert os.environ.get("SDL_AUDIODRIVER") == (None if there else "dummy")
    assert os.environ.get("MUJOCO_GL") == (None if there else "egl")
    assert os.environ.get("SDL_VIDEODRIVER") == (None if there else "dummy")
    if there:
        return need_display("--render")
    with pytest.raises(InputError, match=r"^--render: no display: .*use `swingup video RUN`") as caught:
        need_display("--render")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no display"):
        watch(greedy(), lambda: pytest.fail("made an environment"), 1, 0)


@pytest.mark.parametrize(
    ("backend", "error", "fix"),
    [  # as MuJoCo raised them without libegl1, then without Mesa, then with its other two ways of drawing
        (
            "egl",
            AttributeError("'NoneType' object has no attribute 'eglQueryString'"),
            "; apt-get install libegl1",
        ),
        (
            "egl",
            ImportError("Cannot initialize a EGL device display. This likely means"),
            "; apt-get install libegl1",
        ),
        ("osmesa", AttributeError("'NoneType' object has no attribute 'glGetError'"), "set MUJOCO_GL=egl"),
        (
            "glfw",
            RuntimeError("an OpenGL platform library has not been loaded into this process"),
            "set MUJOCO_GL=egl",
        ),
        ("egl", RuntimeError("the sprite\nis missing"), "see whether its render"),
    ],
)
def test_a_renderer_fault_says_what_to_install(monkeypatch, tmp_path, backend, error, fix):
    monkeypatch.setenv("MUJOCO_GL", backend)
    message = str(renderer_fault("HalfCheetah-v5", error))
    assert message.startswith("environment HalfCheetah-v5: it cannot be drawn (")
    assert fix in message
    assert "\n" not in message

    def make():
        raise error

    if "egl" in fix:  # the same where it shows as early as at making: MuJoCo's import looks for the library
        with pytest.raises(InputError, match=re.escape(message)):
            rendering.rendering(make, "rgb_array", "HalfCheetah-v5")


FILM = """
import sys, numpy as np
if "{env}".startswith("Half"):
    import mujoco  # as after training: setting MUJOCO_GL must help even then
from pathlib import Path
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.core.policy import Policy
from swingup.reports.video import film

class Push:
    def apply(self, params, obs):
        return np.full((len(obs), {actions}), 0.9, np.float32)

make = factory("{env}", render_mode="rgb_array", max_episode_steps=30)
clip, = film(Policy(Push(), (), GymEnv(factory("{env}")).spec), make, lambda k: Path("a.mp4"), 1, 3)
assert "jax" not in sys.modules
print(clip.length)
"""


def without_display():
    chosen = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "SDL_VIDEODRIVER")
    return {k: v for k, v in os.environ.items() if k not in chosen}


@pytest.fixture(scope="module")
def drawable():
    """Skips the test of a MuJoCo environment where MuJoCo or its graphics library is missing."""

    def check(env):
        if env.startswith("HalfCheetah") and trouble:
            pytest.skip(trouble)

    probe = [sys.executable, "-c", "import mujoco.egl; mujoco.egl.GLContext(8, 8).free()"]
    trouble = ""
    if not importlib.util.find_spec("mujoco"):
        trouble = "mujoco is not installed"
    elif subprocess.run(probe, env={**without_display(), "MUJOCO_GL": "egl"}, capture_output=True).returncode:
        trouble = "EGL does not work here"
    return check


@pytest.mark.parametrize(
    ("env", "actions", "size"),
    [("Pendulum-v1", 1, 500), pytest.param("HalfCheetah-v5", 6, 480, marks=pytest.mark.slow)],
)
def test_without_a_display_environments_are_filmed_all_the_same(tmp_path, drawable, env, actions, size):
    drawable(env)
    command = [sys.executable, "-c", FILM.format(env=env, actions=actions)]
    done = subprocess.run(command, cwd=tmp_path, env=without_display(), capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["30"]), done.stderr
    frames = decode(tmp_path / "a.mp4").astype(int)
    assert frames.shape == (31, size, size, 3)
    assert frames[0].std() > 5  # a picture
    assert all((np.abs(b - a) > 30).any() for a, b in pairwise(frames))  # that moves


@pytest.mark.parametrize("env", ["Pendulum-v1", "HalfCheetah-v5"])
def test_an_environment_does_not_notice_being_filmed(tmp_path, drawable, env):
    drawable(env)
    filmed = Recorder(
        factory(env, render_mode="rgb_array", max_episode_steps=10)(), tmp_path, cubic, pytest.fail
    )
    assert same(drive(filmed, 2, 10), drive(factory(env, max_episode_steps=10)(), 2, 10))
    assert [len(decode(tmp_path / f"episode-00000{k}.mp4")) for k in range(2)] == [11, 11]


@pytest.mark.parametrize("chosen", [{}, {"camera_id": -1}])
def test_the_camera_follows_a_cheetah_that_runs_unless_the_user_chose_one(tmp_path, drawable, chosen):
    def tan_pixels(x):
        qpos = env.unwrapped.data.qpos.copy()
        qpos[0] = x
        env.unwrapped.set_state(qpos, env.unwrapped.data.qvel)
        frame = env.render().astype(int)
        return (frame[..., 0] - frame[..., 2] > 40).sum()

    drawable("HalfCheetah")
    make = factory("HalfCheetah-v5", render_mode="rgb_array", **chosen)
    for env in (
        Recorder(make(), tmp_path, cubic, pytest.fail),
        rendering.rendering(make, "rgb_array", "HalfCheetah-v5"),
    ):
        env.reset(seed=0)
        assert tan_pixels(0) > 1000
        assert (tan_pixels(20) > 1000) == (not chosen)
        env.close()


def test_a_notebook_shows_the_video_from_its_own_page(tmp_path):
    write(tmp_path / "a.mp4", np.zeros((3, 32, 32, 3), np.uint8))
    tag = inline(tmp_path / "a.mp4", "a ball & a cup")
    found = re.fullmatch(
        r'<video controls loop muted playsinline style="max-width: 100%" aria-label="a ball &amp; a cup" '
        r'src="data:video/mp4;base64,([^"]+)"></video>',
        tag,
    )
    assert base64.b64decode(found[1], validate=True) == (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(InputError, match="the video cannot be read"):
        inline(tmp_path / "none.mp4", "nothing")
