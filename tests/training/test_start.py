"""A run that begins with what another one has learnt, and a saved model that goes on learning."""

import json
import shutil

import numpy as np
import pytest

import swingup
from faultcases import runs
from swingup.cli.main import run as cli
from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.core.named_arrays import flatten_named
from swingup.envs.gym_env import GymEnv
from swingup.envs.jax_env import JaxVectorEnv
from swingup.envs.registry import factory, find
from swingup.loops.base import Start, in_columns
from swingup.loops.fused import FusedLoop
from swingup.loops.host import HostLoop
from swingup.storage import checkpoint_reader
from swingup.storage.other_run import rows_of_ring
from swingup.training.build import RunBuilder, plan
from swingup.training.start import canonical
from swingup.types import Layout

TINY = {"steps": 120, "warmup": 40, "hidden": (9, 7), "batch": 8, "threads": 2, "capacity": 100}
TINY |= {"eval_every": 60, "eval_episodes": 1, "final_episodes": 1, "quiet": True}
AGAIN = {**TINY, "hidden": None, "seed": 1}
del AGAIN["hidden"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run with settings of its own: twin critics, normalised observations."""
    folder = tmp_path_factory.mktemp("source") / "run"
    return swingup.train("Pendulum-v1", run_dir=folder, critics=2, normalize=True, **TINY)


def at_start(run):
    """The learner and the replay of a run's first checkpoint, which is saved before its first step."""
    saved = checkpoint_reader.load(run.folder / "ckpt", 0)
    learner = {k.removeprefix(".state.learner"): v for k, v in saved.tensors.items() if ".learner" in k}
    return learner, saved


def learner_of(run):
    saved = checkpoint_reader.load(run.folder / "ckpt")
    return {k.removeprefix(".state.learner"): v for k, v in saved.tensors.items() if ".learner" in k}


@pytest.mark.parametrize("keep", ["weights", "learner", "replay"])
def test_a_run_begins_with_what_it_keeps_of_another(source, tmp_path, keep):
    run = swingup.train(
        "Pendulum-v1", from_run=source, keep=keep, run_dir=tmp_path / "run", critic_lr=3e-4, **AGAIN
    )
    before, (after, saved) = learner_of(source), at_start(run)
    taken = [k for k in after if np.array_equal(after[k], before.get(k))]
    policy = [k for k in after if k.startswith((".actor[", ".obs_statistics"))]
    assert set(policy) <= set(taken)
    assert run.config.hidden == (9, 7)
    if keep == "weights":
        assert all(
            np.array_equal(after[k], after[k.replace(".actor[", ".target_actor[")]) for k in policy[:4]
        )
        assert not [k for k in taken if k.startswith((".critic[", ".target_critic["))]
        assert run.config.critics == 1
    elif keep == "learner":
        assert set(taken) == set(after)
        assert (saved.added, run.config.critics) == (0, 2)
    else:
        ring = checkpoint_reader.load(source.folder / "ckpt")
        newest = np.roll(ring.ring, -ring.added, 0)
        newest[-1, 0, 3 + 1 + 2] = 1  # what is collected next does not continue it
        np.testing.assert_array_equal(saved.ring, newest)
        assert saved.added == 100
        updates = learner_of(run)[".critic_opt[0].count"] - before[".critic_opt[0].count"]
        assert updates == 120  # no warm-up


def started(source, **changes):
    """The plan of a run with other settings than its source, and what it begins with."""
    settings = vars(source.config) | {"from_run": str(source.folder)} | changes
    builder = RunBuilder(check(apply(base("Pendulum-v1"), settings, "test")))
    return builder.plan(source.policy.spec), builder.start(source.policy.spec)


def test_moments_are_kept_whatever_is_chained_to_the_optimiser(source):
    changed = {"grad_clip": 1.0, "critic_lr_end": 1e-5, "actor_lr_end": 1e-5, "weight_decay": 1e-3}
    before, after = learner_of(source), started(source, **changed)[1].arrays
    here, there = canonical(after), canonical(before)
    assert here.keys() == there.keys()
    assert here != there  # other places in the chain
    for c in here:
        np.testing.assert_array_equal(after[here[c]], before[there[c]])


@pytest.mark.parametrize("envs", [1, 3])
def test_a_kept_replay_is_the_same_transitions_for_any_number_of_environments(source, envs):
    made, start = started(source, from_keep="replay", envs=envs, n_step=2, updates=0.5)
    ring = checkpoint_reader.load(source.folder / "ckpt").ring
    rows = in_columns(made, start.rows)
    unmarked = lambda x: {row.tobytes() for row in np.delete(x.reshape(-1, x.shape[-1]), 6, axis=1)}
    assert unmarked(rows) == unmarked(ring)


@pytest.mark.parametrize(("n", "updates"), [(1, 1.0), (3, 1.0), (2, 0.125), (4, 2.0)])
def test_columns_hold_every_row_in_order_and_end_marked(n, updates):
    config = check(apply(base("Pendulum-v1"), {"envs": n, "updates": updates, "env": "Pendulum-v1"}, "test"))
    made = plan(config, GymEnv(factory("Pendulum-v1")).spec)
    layout, rows = made.agent.layout, np.zeros((53, made.agent.layout.width), np.float32)
    rows[:, 0] = np.arange(53)
    columns = in_columns(made, rows)
    assert columns.shape[0] % made.block == 0
    assert columns.shape[0] * n - 53 < made.rows
    np.testing.assert_array_equal(columns[..., 0].T.ravel()[:53], np.arange(53))
    assert set(columns[..., 0].ravel()) == set(range(53))
    last = layout.unpack(columns).last
    assert last[-1].all()
    assert not last[:-1].any()


@pytest.mark.parametrize("added", [3, 5, 13])
def test_a_ring_is_read_from_its_oldest_row(added):
    layout, ring = Layout(1, 1), np.zeros((5, 2, 6), np.float32)
    for t in range(added):
        ring[t % 5, :, 0] = (t, 100 + t)
    rows = rows_of_ring(ring, added, layout, 8, "RUN")
    times = range(max(added - 4, 0), added)  # the newest four steps of two environments
    assert rows[:, 0].tolist() == [*times, *(100 + t for t in times)]
    assert layout.unpack(rows).last.tolist() == ([0] * (len(times) - 1) + [1]) * 2


@pytest.mark.slow
def test_host_and_fused_loops_begin_with_the_same_bytes():
    env = find("native/Pendulum-v1")
    settings = {"hidden": (8, 8), "batch": 8, "warmup": 20, "capacity": 64, "envs": 2, "priority": 0.6}
    made = plan(
        check(apply(base("Pendulum-v1"), {"env": "native/Pendulum-v1", **settings}, "test")), env.spec
    )
    rows = np.random.default_rng(0).normal(size=(60, made.agent.layout.width)).astype(np.float32)
    arrays = {".actor[0]['b']": np.full(8, 0.5, np.float32)}
    host, fused = HostLoop(made, JaxVectorEnv(env, 2), 0, end=40), FusedLoop(made, env, 0, end=40)
    for loop in (host, fused):
        loop.begin_with(Start(arrays, rows))
        while loop.steps < 40:
            loop.step()
    a, b = flatten_named(host.state), flatten_named(fused.state)
    assert (a.keys(), host.steps) == (b.keys(), fused.steps)
    assert not [k for k in a if a[k].tobytes() != b[k].tobytes()]


@pytest.mark.slow
def test_a_run_that_began_elsewhere_and_was_killed_ends_in_the_same_bytes(source, tmp_path):
    flags = [*runs.flags(), "--from", str(source.folder), "--keep", "replay", "--hidden", "9,7"]
    whole = tmp_path / "whole"
    assert cli(["train", "Pendulum-v1", *flags, "--quiet", "--run-dir", str(whole)]) == 0
    copied = tmp_path / "copied"
    shutil.copytree(source.folder, copied)
    flags[flags.index(str(source.folder))] = str(copied)
    victim = runs.Killed("Pendulum-v1", flags, tmp_path / "run", 0, steps=900)
    victim.kill(250)
    if (tmp_path / "run" / "ckpt" / "step-0000000000").is_dir():
        shutil.rmtree(copied)  # nothing of it is needed after the first checkpoint
    done = victim.finish()
    assert done.returncode == 0, done.stderr
    odd = runs.differing(runs.final(tmp_path / "run"), runs.final(whole))
    assert not [name for name in odd if "config" not in str(name)]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--hidden", "8,8"], "its actor has hidden (9, 7), this run's has (8, 8); leave out the settings"),
        (["--critics", "3"], "has shape (2, 1, 9) there and (3, 1, 9) in this run"),
        (["--no-normalize"], "in this run; leave out"),
        (["--action-layer", "2"], "in this run; leave out"),
        (["--keep", "everything"], "--keep"),
    ],
)
def test_what_does_not_fit_is_one_line(source, tmp_path, capsys, flags, says):
    args = ["train", "Pendulum-v1", "--from", str(source.folder), "--run-dir", str(tmp_path / "run")]
    assert cli([*args, "--steps", "100", "--warmup", "50", *flags]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_another_environment_and_a_missing_run_are_one_line(source, tmp_path, capsys):
    to = ["--run-dir", str(tmp_path / "run"), "--steps", "100", "--warmup", "50"]
    assert cli(["train", "MountainCarContinuous-v0", "--from", str(source.folder), *to]) == 2
    assert "its obs_size is 3, that of environment MountainCarContinuous-v0 is 2" in capsys.readouterr().err
    assert cli(["train", "Pendulum-v1", "--from", str(tmp_path / "none"), *to]) == 2
    assert "no such run folder" in capsys.readouterr().err
    (tmp_path / "junk").write_bytes(b"no")
    assert cli(["train", "Pendulum-v1", "--from", str(tmp_path / "junk"), *to]) == 2
    assert "not a policy of swingup" in capsys.readouterr().err


@pytest.mark.slow
def test_every_seed_of_a_group_begins_with_it(source, tmp_path):
    group = swingup.train(
        "native/Pendulum-v1", seeds=2, seeds_mode="vmap", from_run=source, run_dir=tmp_path / "g",
        **{k: v for k, v in AGAIN.items() if k != "seed"},
    )  # fmt: skip
    for run in group.runs:
        after, before = at_start(run)[0], learner_of(source)
        assert all(np.array_equal(after[k], before[k]) for k in after)


SMALL = {"learning_starts": 40, "batch_size": 8, "hidden": (9, 7), "buffer_size": 100, "critic_lr_end": 1e-5}


def test_a_loaded_model_goes_on_from_the_saved_learner(tmp_path):
    model = swingup.DDPG("Pendulum-v1", **SMALL).learn(70)
    model.save(tmp_path / "m")
    again = swingup.DDPG.load(tmp_path / "m")
    assert again.config.critic_lr_end == 1e-5
    loop = again.started()
    a, b = flatten_named(model.loop.learner()), flatten_named(loop.learner())
    assert not [k for k in a if a[k].tobytes() != b[k].tobytes()]
    assert (loop.steps, loop.plan.uniform) == (70, False)
    before = swingup.load_policy(tmp_path / "m.safetensors")(np.zeros(3))
    again = swingup.DDPG.load(tmp_path / "m").learn(60)  # a warm-up of forty, then learning
    assert again.loop.steps == 130
    counts = [int(x.critic_opt[0].count) for x in (model.loop.learner(), again.loop.learner())]
    assert counts[1] - counts[0] == 60 - 39
    assert again.predict(np.zeros(3))[0] != before
    again.save(tmp_path / "m2")
    assert swingup.DDPG.load(tmp_path / "m2").started().steps == 130


def test_a_saved_model_without_its_learner_is_the_policys_file(tmp_path):
    model = swingup.DDPG("Pendulum-v1", **SMALL).learn(45)
    model.save(tmp_path / "small", learner=False)
    from swingup.storage.policy_file import save_policy

    save_policy(tmp_path / "policy.safetensors", model.policy)
    assert (tmp_path / "small.safetensors").read_bytes() == (tmp_path / "policy.safetensors").read_bytes()
    with pytest.raises(swingup.InputError, match=r"holds a policy alone.*save\(path\) without learner=False"):
        swingup.DDPG.load(tmp_path / "small").learn(10)
    with pytest.raises(swingup.InputError, match="--keep weights goes on from that"):
        swingup.DDPG("Pendulum-v1", from_run=tmp_path / "small.safetensors", **SMALL).learn(10)
    weights = swingup.DDPG("Pendulum-v1", from_run=tmp_path / "small.safetensors", keep="weights", **SMALL)
    loop = weights.started()
    assert loop.policy()(np.zeros(3)) == model.policy(np.zeros(3))


@pytest.mark.slow
def test_a_model_learns_from_a_file_with_settings_of_its_own(tmp_path):
    swingup.DDPG("Pendulum-v1", **SMALL).learn(45).save(tmp_path / "m")
    other = swingup.DDPG("Pendulum-v1", learning_rate=1e-5, n_envs=2, learning_starts=40, batch_size=4)
    other.load(tmp_path / "m").learn(50)
    assert (other.config.actor_lr, other.config.hidden, other.config.envs) == (1e-5, (9, 7), 2)
    run = swingup.train("Pendulum-v1", from_run=tmp_path / "m.safetensors", run_dir=tmp_path / "run", **AGAIN)
    assert run.config.hidden == (9, 7)
    with pytest.raises(swingup.InputError, match="a saved model has no replay"):
        swingup.train("Pendulum-v1", from_run=tmp_path / "m.safetensors", keep="replay", **AGAIN)


def test_a_model_trained_on_a_class_asks_for_it(tmp_path, counting):
    swingup.DDPG(lambda: counting(truncate=9), **SMALL).learn(45).save(tmp_path / "m")
    with pytest.raises(swingup.InputError, match="Counting"):
        swingup.DDPG.load(tmp_path / "m").learn(10)
    assert swingup.DDPG.load(tmp_path / "m", lambda: counting(truncate=9)).learn(10).loop.steps == 55


def test_a_file_with_hostile_settings_is_one_line(tmp_path):
    model = swingup.DDPG("Pendulum-v1", **SMALL).learn(45)
    from swingup.storage.policy_file import save_policy

    for settings in ("[]", "{", json.dumps({"hidden": "x"}), json.dumps({"gamma": 7})):
        save_policy(tmp_path / "m.safetensors", model.policy, {}, {"swingup_settings": settings})
        with pytest.raises(swingup.InputError):
            swingup.DDPG.load(tmp_path / "m")


def test_a_builder_reads_no_source_where_none_is_named(source):
    config = check(apply(base("Pendulum-v1"), {"env": "Pendulum-v1"}, "test"))
    assert RunBuilder(config).start(source.policy.spec) is None
