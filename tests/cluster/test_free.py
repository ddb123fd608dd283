"""Free running: every transition is learnt from once, whatever is lost, and a resumed run has all."""

import numpy as np
import pytest

from swingup.cluster.free import FreeLoop, Journal
from swingup.cluster.train import ClusterBuilder, scale_of
from swingup.config.settings import Config, check
from swingup.errors import InputError
from swingup.training.build import RunBuilder
from swingup.training.options import Options
from swingup.training.signals import Interrupted
from tests.cluster.sequence import Sequence
from tests.cluster.test_lockstep import N, made


def free(tmp_path, workers, **more):
    """A free-running loop on workers in this process."""
    lockstep = made(workers, Sequence, "Sequence", episode_steps=None, **more)
    journal = Journal(tmp_path / "journal.csv")
    about = {"every": (10**6,), "end": 10**6, "journal": journal}
    return FreeLoop(lockstep.plan, lockstep.spec, 0, lockstep.fleet, lockstep.exploration, **about)


def run(loop, iterations):
    for _ in range(iterations):
        loop.step()


def journal(tmp_path):
    lines = (tmp_path / "journal.csv").read_text().splitlines()
    assert lines[0] == "iteration,env,segment"
    return [tuple(map(int, line.split(","))) for line in lines[1:]]


def check_nothing_is_lost_or_twice(plan, found, rows):
    """found: the lines of a journal; rows: those of its segments, in order."""
    for env in range(N):
        numbers = [number for _, e, number in found if e == env]
        assert numbers == list(range(len(numbers)))
        own = np.concatenate([r for (_, e, _), r in zip(found, rows, strict=True) if e == env])
        t = plan.agent.layout.unpack(own)
        assert t.obs[0, 1] == 0
        for before, after, last in zip(t.next_obs, t.obs[1:], t.last, strict=False):
            assert after[1] == 0 if last else (after == before).all()
        assert len({tuple(o) for o in t.obs.tolist()}) == len(own)


KILLS = {"lose": range(7, 107, 5)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "fails", "more"),
    [
        (1, {}, {}),
        (4, KILLS, {}),
        (3, {"break_at": (30, 80)} | KILLS, {"delay": 3, "updates": 0.25, "n_step": 2}),
    ],
)
def test_nothing_is_lost_or_learnt_from_twice(tmp_path, workers, fails, more):
    loop, rows = free(tmp_path, workers, fails=fails, **more), []
    episodes = []
    for _ in range(60):
        result = loop.step()
        rows += list(result.rows.swapaxes(0, 1))
        episodes += result.episodes
    saved = loop.snapshot()
    found = journal(tmp_path)
    assert len(found) == 60 * N
    check_nothing_is_lost_or_twice(loop.plan, found, rows)
    ends = sum(int(r[:, -3].sum()) for r in rows)  # the column `last`, before the two of next_obs
    assert len(episodes) == ends == loop.episodes
    assert all(e.length == 17 for e in episodes)
    if fails:
        assert loop.fleet.restarts >= len(KILLS["lose"]) - 6
    # Replay has the same rows, each segment's end marked.
    layout = loop.plan.agent.layout
    ring = layout.unpack(saved.ring[: saved.added])
    assert (ring.last[loop.plan.block - 1 :: loop.plan.block] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_a_resumed_run_has_the_rows_that_waited_and_no_journal_of_what_is_undone(tmp_path, workers):
    loop, rows = free(tmp_path, 2), []
    for _ in range(25):
        rows += list(loop.step().rows.swapaxes(0, 1))
    saved = loop.snapshot()
    saved = saved._replace(tensors={k: v.copy() for k, v in saved.tensors.items()}, ring=saved.ring.copy())
    for _ in range(5):  # undone
        loop.step()
    loop.snapshot()
    again = free(tmp_path, workers)
    assert again.restore(saved)
    waiting = len(saved.tensors["host.queue.rows"])
    assert waiting == len(again.queue)
    for _ in range(30):
        rows += list(again.step().rows.swapaxes(0, 1))
    again.snapshot()
    found = journal(tmp_path)
    assert len(found) == 55 * N
    check_nothing_is_lost_or_twice(again.plan, found, rows)


@pytest.mark.slow
def test_when_the_cluster_is_lost_the_run_can_be_saved(tmp_path):
    loop = free(tmp_path, 2, fails={"gone": 40})
    with pytest.raises(Interrupted):
        run(loop, 60)
    again = free(tmp_path, 2)
    again.restore(loop.snapshot())
    assert again.steps == loop.steps > 0
    again.step()


def test_workers_pause_when_rows_wait(tmp_path):
    loop = free(tmp_path, 4)
    loop.open()
    for _ in range(100):
        if not loop.fleet.queue:
            break
        loop.accept(*loop.fleet.next(loop.state_of, loop.restored))
    assert len(loop.queue) == 3 * N - 1
    assert len(loop.idle) == 4
    assert loop.step().rows.shape[1] == N
    assert not loop.idle


def test_workers_explore_with_strengths_of_their_own():
    assert [scale_of(w, 3) for w in range(3)] == [0.5, 1, 2]
    assert scale_of(0, 1) == 1


def test_a_free_run_is_not_called_exact():
    free = RunBuilder(Config(env="Pendulum-v1", on="ray", workers=1, order="free"))
    assert not free.repeatable
    assert RunBuilder(Config(env="Pendulum-v1")).repeatable
    assert isinstance(ClusterBuilder(free, "Pendulum-v1", Options()), RunBuilder)


def test_free_needs_workers():
    with pytest.raises(InputError, match="--order free: of which workers"):
        check(Config(env="Pendulum-v1", order="free"))
