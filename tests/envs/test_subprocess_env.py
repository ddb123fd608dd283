"""Worker processes: the same bits as in this process, whatever happens to them; none outlives this one."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import cloudpickle
import gymnasium
import numpy as np
import pytest

from swingup.envs import subprocess_env
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.envs.subprocess_env import SubprocessVectorEnv
from swingup.errors import EnvFault, InputError
from swingup.loops.collector import HostCollector

# The environments of this file travel whole, so that workers need not import pytest.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


class Walk(gymnasium.Env):
    """A random walk that depends on seed and actions only.

    trouble(env, t, answer): called in step t of the episode whose seed is `unlucky`, also after a restart.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = BOX

    def __init__(self, trouble=None, unlucky=11):
        self.trouble, self.unlucky = trouble, unlucky

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.t, self.x = seed, 0, self.np_random.normal(size=3).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.t += 1
        self.x = (self.x + self.np_random.normal(size=3) * action.sum()).astype(np.float32)
        answer = self.x.copy(), float(self.x[0]), bool(self.x[1] > 9), False, {}
        if self.trouble and self.seed == self.unlucky:
            answer = self.trouble(self, self.t, answer) or answer
        return answer


def actions(steps, n=4, size=2):
    return np.random.default_rng(5).uniform(-1, 1, (steps, n, size)).astype(np.float32)


def played(env, steps=6, seeds=(10, 11, 12, 13)):
    """The first observations, then [obs, reward, terminated, truncated] of each of a few steps."""
    first = env.reset(list(seeds))
    return [[first]] + [list(env.step(a)) for a in actions(steps, env.n)]


def same(a, b):
    return all(
        x.tobytes() == y.tobytes() for s, t in zip(a, b, strict=True) for x, y in zip(s, t, strict=True)
    )


@contextlib.contextmanager
def opened(make, n=4, w=2, **options):
    """A SubprocessVectorEnv and the lines that it reports."""
    lines = []
    env = SubprocessVectorEnv(make, n, w, report=lines.append, **options)
    try:
        yield env, lines
    finally:
        env.close()


@pytest.fixture(scope="module")
def undisturbed():
    return played(GymEnv(Walk, 4))


def collected(env, steps, disturb=lambda t: None):
    collector, rng = HostCollector(env, 7), np.random.default_rng(1)
    stream = [collector.obs.tobytes()]
    for t in range(steps):
        disturb(t)
        rows, ended = collector.collect(rng.uniform(-1, 1, (env.n, env.spec.action_size)).astype(np.float32))
        stream += [rows.tobytes(), collector.obs.tobytes(), ended]
    return stream


def alive(pid):
    """Whether a process runs; one that only waits to be reaped does not."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def gone(pids, seconds=20.0):
    until = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))


def pids(env):
    return [worker.process.pid for worker in env.workers]


@pytest.mark.parametrize(("n", "w"), [(1, 1), (5, 1), (5, 2), (5, 3), (2, 9)])
def test_the_same_bits_as_in_one_process(n, w):
    make = factory("Pendulum-v1")
    expected = collected(GymEnv(make, n, "Pendulum-v1", 20), 50)
    with opened(make, n, w, name="Pendulum-v1", limit=20) as (env, lines):
        assert len(env.workers) == min(n, w)
        assert collected(env, 50) == expected
        assert env.spec == GymEnv(make, 1, "Pendulum-v1").spec
        assert not lines
        # A replay leads to the same place, and the episode goes on from there.
        other, plays = GymEnv(make, n, "Pendulum-v1", 20), actions(15, 1, 1)[:, 0]
        for e in (env, other):
            e.reset(list(range(n)))
        assert env.restore_episode(n - 1, 3, plays).same(other.restore_episode(n - 1, 3, plays))
        assert same([env.step(actions(1, n, 1)[0])], [other.step(actions(1, n, 1)[0])])


class Odd(gymnasium.Env):
    """Nested observations with a scalar, a float64 matrix as action; writes into its action, and prints."""

    observation_space = gymnasium.spaces.Dict({"b": BOX, "a": gymnasium.spaces.Tuple([BOX])})
    action_space = gymnasium.spaces.Box(np.full((2, 2), -3.0), np.full((2, 2), 1.0), dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        self.loaded = "jax" in sys.modules
        return {"b": np.full(2, self.loaded, np.float32), "a": (np.zeros(2, np.float32),)}, {}

    def step(self, action):
        print('["spec", {"no": "protocol"}]')
        action *= 2
        assert action.flags.c_contiguous
        assert action.flags.aligned
        return (
            {"b": action[0].astype(np.float32), "a": (action[1].astype(np.float32),)},
            action.sum(),
            False,
            False,
            {},
        )


def test_odd_spaces_and_no_jax_in_a_worker():
    acts = np.random.default_rng(0).uniform(-1, 1, (3, 3, 4))
    with opened(Odd, 3, 2) as (env, _):
        other = GymEnv(Odd, 3)
        assert not env.reset([0, 1, 2]).any(), "jax was imported in a worker"
        other.reset([0, 1, 2])
        for a in acts:
            assert same([env.step(a)], [other.step(a)])


def test_killed_at_any_time_the_stream_stays(undisturbed):
    """SIGKILL between random steps, of both workers at once, and before the collector resets episodes."""
    make, rng = factory("Pendulum-v1"), np.random.default_rng(3)
    kills = {
        int(t): [int(w)]
        for t, w in zip(rng.choice(60, 3, replace=False), rng.integers(2, size=3), strict=True)
    } | {20: [0, 1]}
    with opened(make, 5, 2, name="Pendulum-v1", limit=10) as (env, lines):

        def disturb(t):
            for w in kills.get(t, []):
                os.kill(env.workers[w].process.pid, signal.SIGKILL)

        assert collected(env, 60, disturb) == collected(GymEnv(make, 5, "Pendulum-v1", 10), 60)
        assert env.faults == {"restarts": 5, "truncated": 0}
    assert len(lines) == 5
    assert all("ended by signal 9" in line and line.endswith("the worker is started again") for line in lines)
    assert any(line.startswith("worker 1 (environments 3-4), step ") for line in lines)


def fail():
    raise ValueError("the simulator\ncoughed")


def test_trouble_once_leaves_no_trace(tmp_path, undisturbed):
    """At step 4 an environment raises, in the next episode it exits, in the third it is killed."""
    ways, due, begun = (
        [fail, lambda: os._exit(3), lambda: time.sleep(3600)],
        tmp_path / "due",
        tmp_path / "begun",
    )

    def trouble(env, t, answer):
        if t == 4 and due.exists():
            way = ways[int(due.read_text())]
            due.rename(begun)
            way()

    with opened(lambda: Walk(trouble)) as (env, lines):
        due.write_text("0")
        assert same(played(env), undisturbed)
        assert lines[0].startswith(
            "worker 0 (environments 0-1), step 4: environment Walk [1], episode 0, step 4: it raised "
        )
        assert "ValueError: the simulator coughed (test_subprocess_env.py:" in lines[0]
        due.write_text("1")
        assert same(played(env), undisturbed)
        assert lines[1].startswith("worker 0 (environments 0-1), step 10: its process exited with code 3; ")
        begun.unlink()
        due.write_text("2")
        killer = threading.Thread(target=kill_when, args=[begun, pids(env)[0]])
        killer.start()
        assert same(played(env), undisturbed)
        killer.join()
        assert "ended by signal 9 (Killed)" in lines[2]
        assert len(lines) == 3
        assert env.faults == {"restarts": 3, "truncated": 0}


def kill_when(path, pid):
    until = time.monotonic() + 30
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)


def check_truncated(got, undisturbed, i, t):
    """Environment i's episode was truncated at step t with the observation before; others went on."""
    others = [k for k in range(4) if k != i]
    assert same(
        [[x[others] for x in s] for s in got[: t + 1]], [[x[others] for x in s] for s in undisturbed[: t + 1]]
    )
    obs, reward, terminated, truncated, success = (x[i] for x in got[t])
    assert obs.tobytes() == undisturbed[t - 1][0][i].tobytes()
    assert (reward, terminated, truncated) == (0, False, True)
    assert success != 1
    assert not any(s[3].any() for s in got[1:t])


def at_three(act):
    def trouble(env, t, answer):
        if t == 3:
            return act()

    return trouble


@pytest.mark.parametrize(
    ("act", "text", "deadline"),
    [
        (fail, "it raised ValueError: the simulator coughed (test_subprocess_env.py:", 60),
        (lambda: os._exit(0), "its process exited with code 0", 60),
        pytest.param(lambda: time.sleep(3600), "no answer within 3 s", 3, marks=pytest.mark.slow),
    ],
    ids=["raises", "exits", "hangs"],
)
def test_trouble_twice_at_a_step_truncates(act, text, deadline, undisturbed):
    with opened(lambda: Walk(at_three(act)), deadline=deadline) as (env, lines):
        check_truncated(played(env, 3), undisturbed, 1, 3)
        assert env.faults == {"restarts": 2, "truncated": 1}
        assert len(lines) == 3
        assert all(text in line for line in lines)
        assert lines[2].startswith("environment Walk [1], episode 0, step 3: ")
        assert lines[2].endswith("it failed twice, its episode is truncated")
        # The next episode of the same environment is a good one, the neighbours' go on.
        env.reset([None, 21, None, None])
        step, other = env.step(actions(1)[0]), GymEnv(Walk, 4)
        other.reset([0, 21, 0, 0])
        assert step.obs[1].tobytes() == other.step(actions(1)[0]).obs[1].tobytes()
        assert not step.truncated.any()
        assert len(lines) == 3


@pytest.mark.parametrize("end", ["close", "kill"])
def test_nothing_that_an_environment_forked_outlives_its_worker(end):
    """Children of a worker that closes in peace, and of one that dies and is started again."""

    class Forking(Walk):
        def reset(self, *, seed=None, options=None):
            info = super().reset(seed=seed)[1]
            if (child := os.fork()) == 0:
                time.sleep(600)
                os._exit(0)
            self.x[0] = child
            return self.x.copy(), info

    with opened(Forking, 2, 1) as (env, _):
        children = env.reset([10, 12])[:, 0].astype(int).tolist()
        assert all(map(alive, children))
        if end == "close":
            env.close()
        else:
            os.kill(pids(env)[0], signal.SIGKILL)
            assert env.step(actions(1, 2)[0]).truncated.all()  # other children: not the same observation
        assert gone(children)


def test_an_environment_that_cannot_be_played_again_is_truncated_alone(tmp_path, undisturbed):
    """Its episodes depend on more than seed and actions: a file that tells how many were made."""

    class Forgetful(Walk):
        def reset(self, *, seed=None, options=None):
            _, info = super().reset(seed=seed)
            if seed == self.unlucky:
                with open(tmp_path / "count", "a+") as file:
                    file.write("x")
                    self.x += np.float32(file.tell())
            return self.x.copy(), info

    with opened(Forgetful) as (env, lines):
        env.reset([10, 11, 12, 13])
        before = env.step(actions(1)[0])
        os.kill(pids(env)[0], signal.SIGKILL)
        step = env.step(actions(2)[1])
        assert step.truncated.tolist() == [False, True, False, False]
        assert step.obs[1].tobytes() == before.obs[1].tobytes()
        assert step.obs[0].tobytes() == undisturbed[2][0][0].tobytes()
        assert env.faults == {"restarts": 1, "truncated": 1}
        assert lines[1] == (
            "environment Forgetful [1], episode 0, step 2: "
            "played again it does not come to the same observation and return, its episode is truncated"
        )
        # Until it is reset it stays truncated, and nobody asks it.
        assert env.step(actions(1)[0]).truncated.tolist() == [False, True, False, False]
        assert len(lines) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda obs: np.array([0, np.nan, 0], np.float32),
        lambda obs: obs[:1],
        lambda obs: obs.astype(np.complex64),
        lambda obs: None,
    ],
    ids=["nan", "shape", "dtype", "none"],
)
def test_a_broken_contract_is_raised_as_in_one_process(spoil):
    def trouble(env, t, answer):
        if t == 2:
            return spoil(answer[0]), *answer[1:]

    seeds = (10, 12, 13, 11)  # the second of the second worker's share
    with opened(lambda: Walk(trouble), name="Walk-v7") as (env, lines):
        with pytest.raises(EnvFault) as caught:
            played(env, seeds=seeds)
        with pytest.raises(EnvFault) as expected:
            played(GymEnv(lambda: Walk(trouble), 4, "Walk-v7"), seeds=seeds)
        assert str(caught.value) == str(expected.value)
        assert str(caught.value).startswith("environment Walk-v7 [3], episode 0, step 2: ")
        assert "observation" in str(caught.value)
        assert not lines
        assert env.faults["restarts"] == 0


def test_a_step_that_was_interrupted_has_not_happened(undisturbed):
    with opened(Walk) as (env, _):
        got = [[env.reset([10, 11, 12, 13])], list(env.step(actions(6)[0]))]
        hear = env.hear

        def interrupted(w, *rest):
            hear(w, *rest)
            raise KeyboardInterrupt

        env.hear = interrupted
        with pytest.raises(KeyboardInterrupt):
            env.step(actions(6)[1])
        env.hear = hear
        got += [list(env.step(a)) for a in actions(6)[1:]]
        assert same(got, undisturbed)


def test_an_environment_that_cannot_begin(monkeypatch):
    class Closed(Walk):
        def reset(self, *, seed=None, options=None):
            if seed == 11:
                fail()
            return super().reset(seed=seed)

    with (
        opened(Closed) as (env, lines),
        pytest.raises(EnvFault, match=r"\[1\], episode 0, step 0: it raised .*failed twice$"),
    ):
        env.reset([10, 11, 12, 13])
    assert len(lines) == 2

    class Slow(Walk):
        def reset(self, *, seed=None, options=None):
            time.sleep(3600)

    with opened(Slow, 1, 1, deadline=0.5) as (env, _):
        monkeypatch.setattr(SubprocessVectorEnv, "hear", hasty(SubprocessVectorEnv.hear, monkeypatch))
        with pytest.raises(EnvFault, match=r"step 0: no answer within 0\.5 s; it failed twice$"):
            env.reset([1])


def hasty(hear, monkeypatch):
    """`hear` that waits for a reset no longer than for a step."""

    def heard(*args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(subprocess_env, "STARTING", 0.0)
            return hear(*args, **options)

    return heard


def lock():
    held = threading.Lock()
    return lambda: Walk(held)


def absent():
    namespace = {}
    exec("def make(): return None", {"__name__": "a_module_that_is_not_there"}, namespace)
    make = namespace["make"]
    module = sys.modules["a_module_that_is_not_there"] = type(sys)("a_module_that_is_not_there")
    module.make = make
    return make


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lock(),
            "what makes it cannot travel to a worker process (TypeError: cannot pickle '_thread.lock' object",
        ),
        (
            absent(),
            "what makes it cannot be rebuilt in a worker process "
            "(ModuleNotFoundError: No module named 'a_module_that",
        ),
        (lambda: fail(), "while it was made it raised ValueError: the simulator coughed"),
        (lambda: os._exit(4), "while a worker process made it, its process exited with code 4"),
        (lambda: 3, "the function made a int; let it return a gymnasium.Env"),
    ],
    ids=["lock", "absent", "raises", "exits", "no-env"],
)
def test_what_cannot_be_made_is_one_line(make, text):
    with pytest.raises(InputError) as caught:
        SubprocessVectorEnv(make, 2, 2, "Mine-v0")
    assert text in str(caught.value)
    assert str(caught.value).startswith("environment")
    assert "\n" not in str(caught.value)


def test_too_few_workers():
    with pytest.raises(InputError, match="0 is too few"):
        SubprocessVectorEnv(Walk, 2, 0)


def test_a_module_of_the_parents_path_travels(tmp_path, monkeypatch):
    (tmp_path / "myhouse.py").write_text(
        "import gymnasium\nfrom gymnasium.envs.classic_control import PendulumEnv\n"
        "class Mine(PendulumEnv): pass\ngymnasium.register('Mine-v0', entry_point='myhouse:Mine')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with opened(factory("myhouse:Mine-v0"), 1, 1) as (env, _):
        assert env.reset([0]).shape == (1, 3)


def test_close_is_quick_and_final_and_signals_are_the_parents():
    class Stubborn(Walk):
        def close(self):
            time.sleep(3600)

    with opened(Stubborn) as (env, lines):
        env.reset([0, 1, 2, 3])
        for pid in pids(env):
            assert os.getpgid(pid) != os.getpgid(0)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                os.kill(pid, number)
        env.step(actions(1)[0])
        assert not lines
        children, started = pids(env), time.monotonic()
        env.close()
        assert time.monotonic() - started < 5
        assert gone(children, 0)
        env.close()
        with pytest.raises(RuntimeError, match="closed"):
            env.step(actions(1)[0])


def test_no_worker_outlives_a_killed_parent(tmp_path):
    """One worker waits, one sleeps in a step, one is busy in C code: SIGKILL of the parent ends all."""
    script = """
        import ctypes, sys, time, gymnasium, numpy as np
        from swingup.envs.subprocess_env import SubprocessVectorEnv

        class Env(gymnasium.Env):
            observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
            def reset(self, *, seed=None, options=None):
                self.seed = seed
                return np.zeros(1, np.float32), {}
            def step(self, action):
                open(f"{FOLDER}/{self.seed}", "w").close()
                if self.seed == 1:
                    time.sleep(3600)
                if self.seed == 2:
                    ctypes.PyDLL(None).sleep(3600)
                return np.zeros(1, np.float32), 0.0, False, False, {}

        FOLDER = sys.argv[1]
        env = SubprocessVectorEnv(Env, 3, 3)
        env.reset([0, 1, 2])
        print(*(w.process.pid for w in env.workers), flush=True)
        env.step(np.zeros((3, 1), np.float32))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        children = [int(pid) for pid in parent.stdout.readline().split()]
        until = time.monotonic() + 30
        while len(list(tmp_path.iterdir())) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(children) == 3
        assert all(map(alive, children))
        parent.kill()
        assert gone(children)
        assert parent.stderr.read() == ""
