"""A run interrupted anywhere resumes to the same bytes, or says that it does not."""

import json
import os
import signal

import gymnasium
import jax
import numpy as np
import pytest

import swingup
from faultcases import runs
from swingup import runtime
from swingup.cli.main import run as cli
from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.errors import InputError
from swingup.loops.base import Snapshot
from swingup.loops.evaluation import can_restore_episodes
from swingup.loops.host import HostLoop
from swingup.storage import checkpoint_reader, checkpoint_writer
from swingup.training import session, verify
from swingup.training.build import plan

SMALL = {"hidden": (16, 16), "batch": 16, "warmup": 60, "capacity": 500, "env": "Pendulum-v1"}
FLAGS = [*runs.flags(), "--quiet"]


def make_loop(**changes):
    config = check(apply(base("Pendulum-v1"), SMALL | changes, "test"))
    env = GymEnv(factory("Pendulum-v1"), config.envs)
    return HostLoop(plan(config, env.spec), env, 0)


def copied(s):
    """A snapshot that later ticks cannot change."""
    return Snapshot({k: np.array(v) for k, v in s.tensors.items()}, np.array(s.ring), s.added)


def digest(loop):
    s = loop.snapshot()
    return {k: v.tobytes() for k, v in s.tensors.items()}, s.ring.tobytes(), s.added


@pytest.mark.parametrize(
    "options",
    [
        {"noise": "ou", "n_step": 3, "envs": 3, "normalize": True},
        {"noise": "pink", "priority": 0.6, "delay": 2, "critics": 2, "smoothing": 0.2, "sigma_end": 0.0},
        {"block": 7, "envs": 2, "n_step": 2, "normalize": True},
    ],
    ids=["ou", "td3", "blocks"],
)
@pytest.mark.slow
def test_a_loop_that_goes_on_from_a_snapshot_ends_in_the_same_bits(options):
    """At the first step, in the warm-up, in training; every snapshot leads to the same end."""
    loop, saved = make_loop(**options), {}
    for t in range(90):
        if t in (1, 3, 15, 75):
            saved[t] = copied(loop.snapshot())
        loop.step()
    again = make_loop(**options)
    for t, snapshot in saved.items():
        assert again.restore(snapshot)
        for _ in range(90 - t):
            again.step()
        assert digest(again) == digest(loop)


def test_an_environment_that_cannot_be_played_again_is_told_and_its_episode_ends_there(counting):
    """Counting numbers its episodes, which no seed brings back."""
    agent = plan(check(apply(base("Pendulum-v1"), SMALL, "test")), GymEnv(counting).spec)
    loop, again = (HostLoop(agent, GymEnv(lambda: counting(truncate=4), 1), 0) for _ in range(2))
    for _ in range(10):
        loop.step()
    saved = copied(loop.snapshot())
    assert not again.restore(saved)
    row = agent.agent.layout.unpack(np.asarray(again.state.replay.rows)[9, 0])
    assert row.last == 1
    assert row.discount == 1
    assert not can_restore_episodes(GymEnv(counting), 0)
    assert can_restore_episodes(GymEnv(factory("Pendulum-v1"), 2), 0)
    again.step()
    first = agent.agent.layout.unpack(np.asarray(again.state.replay.rows)[10, 0]).obs
    assert first[1] == 0  # the first step of a new episode


GENERATOR = np.random.default_rng(0)


class Unrepeatable(gymnasium.Env):
    """Rewards of a generator that no seed resets; episodes of 20 steps."""

    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), float(GENERATOR.normal()), False, self.t == 20, {}


def normalized():
    return gymnasium.wrappers.NormalizeReward(gymnasium.make("Pendulum-v1", max_episode_steps=15))


@pytest.mark.parametrize("make", [Unrepeatable, normalized])
def test_rewards_that_do_not_come_back_are_not_called_exact(make):
    """A generator of their own, or statistics of a wrapper, which another episode changes."""
    assert not can_restore_episodes(GymEnv(make, 2), 0)
    agent = plan(check(apply(base("Pendulum-v1"), SMALL, "test")), GymEnv(make).spec)
    loop, again = (HostLoop(agent, GymEnv(make), 0) for _ in range(2))
    for _ in range(25):  # into the second episode
        loop.step()
    assert not again.restore(copied(loop.snapshot()))


def test_a_fresh_episode_of_an_environment_that_is_not_exact_is_not_called_exact(tmp_path):
    """Every episode has 20 steps, so nothing is running at the end that could differ."""
    make = Unrepeatable
    small = {"steps": 60, "warmup": 20, "hidden": (8, 8), "batch": 8, "threads": 2}
    small |= {"eval_every": 20, "eval_episodes": 1, "final_episodes": 1}
    run = swingup.train(make, run_dir=tmp_path / "run", quiet=True, **small)
    with pytest.raises(InputError, match="did not come back to the same bits"):
        swingup.resume(run.folder, 80, make, quiet=True, require_exact=True)
    with pytest.raises(InputError, match="so Unrepeatable cannot be repeated"):
        verify_source(run.folder, make)


def verify_source(folder, make):
    """`verify` of a run that was trained on a function."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify.Run, "env", make)
        verify.verify(folder)


def test_a_snapshot_of_other_sizes_is_refused():
    saved = copied(make_loop().snapshot())
    with pytest.raises(InputError, match="does not fit this run's settings"):
        make_loop(hidden=(16, 8)).restore(saved)
    with pytest.raises(InputError, match="replay: the saved ring"):
        make_loop(capacity=300).restore(saved)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert cli(["train", "Pendulum-v1", *FLAGS, "--run-dir", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_minus_nine_changes_nothing(whole, tmp_path, seed):
    """Three kills at random instants, some of them inside saves, then the end: the same bytes everywhere."""
    victim = runs.Killed("Pendulum-v1", runs.flags(), tmp_path / "run", seed, steps=900)
    for _ in range(3):
        victim.kill(250)
    done = victim.finish()
    assert done.returncode == 0, done.stderr
    assert not runs.differing(runs.final(tmp_path / "run"), runs.final(whole))


WHEN = {"collect": 250, "update": 250, "closing": 3, "write": 5}  # at which call; else the first


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param(phase, marks=pytest.mark.slow)
        for phase in ("collect", "update", "compile", "evaluation", "save", "write", "policy", "closing")
    ],
)
def test_a_signal_at_any_time_leaves_a_checkpoint_and_the_way_back(whole, tmp_path, phase):
    folder = tmp_path / "run"
    done, seconds = runs.signalled(phase, WHEN.get(phase, 1), folder, ["train", "Pendulum-v1", *FLAGS])
    assert done.returncode == 75, done.stderr
    assert f"go on with: swingup resume {folder}" in done.stderr
    assert "durable" in seconds
    assert checkpoint_reader.load(folder / "ckpt").about["class"] == "exact"
    assert cli(["resume", str(folder), "--quiet", "--require-exact"]) == 0
    assert not runs.differing(runs.final(folder), runs.final(whole))


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_steps_as_if_it_had_been_longer(whole, tmp_path, capsys):
    longer, extended = tmp_path / "longer", tmp_path / "extended"
    for folder, steps in ((longer, "1200"), (extended, "900")):
        assert cli(["train", "Pendulum-v1", *FLAGS, "--steps", steps, "--run-dir", str(folder)]) == 0
    assert cli(["resume", str(extended), "--steps", "1200"]) == 0
    assert "resumed at step 900: exact" in capsys.readouterr().err
    # Both evaluated at 900, in the same number of episodes.
    assert not runs.differing(runs.final(extended), runs.final(longer))


def test_verify_repeats_a_stretch_and_sees_a_single_bit(whole, tmp_path, capsys):
    import shutil

    assert cli(["verify", str(whole)]) == 0
    assert "steps 800 to 900 repeated" in capsys.readouterr().out
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    newest = checkpoint_reader.load(folder / "ckpt")
    name = next(k for k in newest.tensors if "critic" in k)
    tensors = {**newest.tensors, name: np.nextafter(newest.tensors[name], np.float32(np.inf))}
    writer = checkpoint_writer.Checkpoints(folder / "ckpt")
    writer.save(900, tensors, newest.ring, newest.added, newest.about)
    writer.close()
    assert cli(["verify", str(folder)]) == 2
    assert f"{name} differs at step 900" in capsys.readouterr().err


def test_another_machine_is_named_field_by_field(whole, tmp_path, capsys, monkeypatch):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    profile = runtime.profile(2)
    monkeypatch.setattr(runtime, "profile", lambda threads: profile | {"cpu": "another one"})
    before = (folder / "config.json").read_text(), (folder / "result.json").read_text()
    assert cli(["resume", str(folder), "--steps", "1000", "--require-exact", "--quiet"]) == 2
    assert before == ((folder / "config.json").read_text(), (folder / "result.json").read_text())
    assert "is another one" in capsys.readouterr().err
    assert cli(["resume", str(folder), "--steps", "1000"]) == 0
    said = capsys.readouterr().err.replace("\n", " ")
    assert "exact, but on another machine" in said
    assert f"cpu was {profile['cpu']}, is another one" in said


def test_a_disk_that_refuses_costs_a_warning_and_not_the_run(tmp_path, monkeypatch, capsys):
    save, calls = checkpoint_writer.Checkpoints.save, []

    def full(self, *args):
        calls.append(0)
        if 2 <= len(calls) <= 4:
            raise OSError(28, "No space left on device", str(self.folder))
        return save(self, *args)

    monkeypatch.setattr(checkpoint_writer.Checkpoints, "save", full)
    folder = tmp_path / "run"
    assert cli(["train", "Pendulum-v1", *[f for f in FLAGS if f != "--quiet"], "--run-dir", str(folder)]) == 0
    assert (
        " ".join(capsys.readouterr().err.split()).count(
            "No space left on device; not saved, training goes on"
        )
        == 1
    )
    assert checkpoint_reader.steps(folder / "ckpt")[-1] == 900


def test_no_whole_checkpoint_is_exit_code_3_and_none_at_all_begins_anew(whole, tmp_path, capsys):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "result.json").unlink()
    for manifest in (folder / "ckpt").glob("*/manifest.json"):
        manifest.write_bytes(manifest.read_bytes()[:-9])
    assert cli(["resume", str(folder)]) == 3
    assert "no checkpoint is whole" in capsys.readouterr().err
    shutil.rmtree(folder / "ckpt")
    assert cli(["resume", str(folder), "--quiet"]) == 0
    assert runs.final(folder) == runs.final(whole)
    assert cli(["resume", str(tmp_path / "nowhere")]) == 2


def test_one_writer_at_a_time(whole, capsys):
    writer = checkpoint_writer.Checkpoints(whole / "ckpt")
    try:
        assert cli(["resume", str(whole), "--steps", "1000", "--quiet"]) == 2
        assert str(os.getpid()) in capsys.readouterr().err
    finally:
        writer.close()


def test_replay_that_does_not_fit_is_refused_with_the_largest_that_does(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runtime, "free_memory", lambda: 1e6)
    assert cli(["train", "Pendulum-v1", "--capacity", "100000", "--run-dir", str(tmp_path / "run")]) == 2
    assert "the largest that fits is 22500" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_on_a_function_is_resumed_from_python(tmp_path, counting):
    make = lambda: counting(truncate=9)
    options = {
        "steps": 60,
        "warmup": 20,
        "hidden": (8, 8),
        "batch": 8,
        "eval_every": 20,
        "eval_episodes": 1,
        "final_episodes": 1,
    }
    run = swingup.train(make, run_dir=tmp_path / "run", quiet=True, **options)
    assert checkpoint_reader.load(run.folder / "ckpt").about["class"] == "episode-boundary"
    more = swingup.resume(run.folder, 80, make, quiet=True)
    assert more.result["steps"] == 80
    with pytest.raises(InputError, match="trained on an object or a function"):
        swingup.resume(run.folder, 90, quiet=True)


@pytest.mark.parametrize("cores", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("process", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_same_seed_same_bytes_whatever_cores_are_visible(whole, tmp_path, cores, process):
    folder = tmp_path / "run"
    args = ["train", "Pendulum-v1", *FLAGS, "--run-dir", folder]
    done = runs.swing(*args, code=runs.SEEN.format(cores=cores))
    assert done.returncode == 0, done.stderr
    assert not runs.differing(runs.final(folder), runs.final(whole))


def test_signals_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with session.stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert jax.default_backend()


@pytest.mark.slow
def test_workers_change_nothing(tmp_path):
    flags = [*FLAGS, "--envs", "2", "--run-dir"]
    assert cli(["train", "Pendulum-v1", *flags, str(tmp_path / "here")]) == 0
    assert cli(["train", "Pendulum-v1", *flags, str(tmp_path / "there"), "--workers", "2"]) == 0
    assert runs.final(tmp_path / "here") == runs.final(tmp_path / "there")


SHORT = {
    "steps": 80,
    "warmup": 20,
    "hidden": (8, 8),
    "batch": 8,
    "eval_every": 40,
    "eval_episodes": 1,
    "final_episodes": 1,
    "threads": 2,
}


def test_a_longer_run_keeps_the_line_of_its_schedules(tmp_path, capsys):
    """`resume --steps` does not jump back up the line, nor claim to be what a longer run would be."""
    falling = {**SHORT, "actor_lr_end": 1e-5, "sigma_end": 0.01}
    run = swingup.train("Pendulum-v1", run_dir=tmp_path / "run", **falling)
    with pytest.raises(swingup.InputError, match="schedule_steps was None, is"):
        swingup.resume(run.folder, run.config.steps * 2, require_exact=True, quiet=True)
    capsys.readouterr()
    longer = swingup.resume(run.folder, run.config.steps * 2)
    assert "exact, but with other settings" in capsys.readouterr().err
    assert longer.config.schedule_steps == run.config.steps


def test_settings_edited_between_are_named_and_not_called_exact(tmp_path, capsys):
    run = swingup.train("Pendulum-v1", run_dir=tmp_path / "run", **SHORT)
    path = run.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gamma": 0.5}))
    with pytest.raises(swingup.InputError, match=r"gamma was 0.\d+, is 0.5"):
        swingup.resume(run.folder, run.config.steps * 2, require_exact=True, quiet=True)
    swingup.resume(run.folder, run.config.steps * 2)
    said = capsys.readouterr().err
    assert "the setting gamma was" in said
    assert "exact, but with other settings" in said


POOL = """
import multiprocessing, sys, time
import gymnasium, numpy as np
class Env(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}
    def step(self, action):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join(60)
        return np.zeros(1, np.float32), float(child.exitcode), True, False, {}
"""


@pytest.mark.parametrize("how", ["GymEnv(Env)", "SubprocessVectorEnv(Env, 1, 1)"])
def test_what_an_environment_forks_can_be_terminated(how):
    code = f"""{POOL}
from swingup.envs.gym_env import GymEnv
from swingup.envs.subprocess_env import SubprocessVectorEnv
from swingup.training.signals import stop_on_signals
with stop_on_signals():
    env = {how}
    env.reset([0])
    print(env.step(np.zeros((1, 1), np.float32)).reward[0])
    env.close()
"""
    child = runs.python(code)
    out, err = child.communicate()
    assert out == f"{-float(signal.SIGTERM)}\n", err


@pytest.mark.slow
def test_a_run_in_blocks_evaluates_saves_and_resumes_where_a_block_ends(tmp_path):
    """Intervals of 100 steps, blocks of 30: the first end of a block after each."""
    settings = {**SHORT, "block": 30, "steps": 300, "warmup": 60, "eval_every": 100, "save_every": 50}
    run = swingup.train("Pendulum-v1", run_dir=tmp_path / "run", **settings, quiet=True)
    assert list(run.evaluations["step"]) == [120, 210, 300]
    assert checkpoint_reader.steps(run.folder / "ckpt")[-2:] == [270, 300]
    part = swingup.train("Pendulum-v1", run_dir=tmp_path / "part", **{**settings, "steps": 150}, quiet=True)
    assert part.result["steps"] == 150
    swingup.resume(part.folder, 300, quiet=True, require_exact=True)
    policies = [(tmp_path / name / "policy" / "last.safetensors").read_bytes() for name in ("run", "part")]
    assert policies[0] == policies[1]
    assert "steps 270 to 300 repeated" in verify.verify(part.folder)


def test_a_run_does_not_go_on_in_blocks_of_another_length(tmp_path):
    run = swingup.train("Pendulum-v1", run_dir=tmp_path / "run", **SHORT, quiet=True)
    text = (run.folder / "config.json").read_text()
    (run.folder / "config.json").write_text(text.replace('"block": 1', '"block": 10'))
    with pytest.raises(InputError, match="the setting block was 1, is 10 since the checkpoint"):
        swingup.resume(run.folder, 160, quiet=True)
    (run.folder / "config.json").write_text(text)
    assert swingup.resume(run.folder, 160, quiet=True).result["steps"] == 160
