"""`swingup bench`: a report that adds up, and one line where it cannot be."""

import json

import pytest

from swingup.cli.main import run as cli
from swingup.tools import bench

SMALL = ["--hidden", "16", "16", "--batch", "8", "--capacity", "500"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(bench, "WINDOW", 4)
    monkeypatch.setattr(bench, "ROUNDS", 1)


@pytest.mark.slow
def test_the_parts_are_named_and_add_up(capsys):
    assert (
        cli(["bench", "Pendulum-v1", *SMALL, "--critics", "2", "--delay", "2", "--block", "4", "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["env"], found["preset"], found["threads"]) == ("Pendulum-v1", "pendulum", 1)
    # Twin critics, an actor's step for every second update: counted by hand in multiplications, 16-16
    # networks, minibatch 8.
    actor, critic = 3 * 16 + 16 * 16 + 16, 4 * 16 + 16 * 16 + 16
    above = 16 * 16 + 16
    update = actor + 2 * critic + 2 * (2 * critic + above) + (2 * actor + above + critic + above + 16) / 2
    assert found["mflop"] == pytest.approx(2 * 8 * update / 1e6)
    # Only the last two are differences, and may be negative, as their work overlaps with the rest.
    assert len(found["parts"]) == 5
    assert min(us for _, us in found["parts"][:3]) >= 0 < min(found["us"], found["gflops"])
    assert sum(us for _, us in found["parts"]) == pytest.approx(found["us"])


def test_a_person_reads_a_table(capsys):
    assert cli(["bench", *SMALL]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "steps/s" in out
    assert "where it goes" in out
    assert "the update runs at " in out
    assert "the product of the largest layer alone, in a loop, runs at " in out
    assert "%" not in out.split("For comparison")[1]  # a loop of one product is no limit


def test_what_cannot_be_taken_apart_is_one_line(capsys):
    assert cli(["bench", "native/Pendulum-v1"]) == 2
    assert "use a Gymnasium environment" in capsys.readouterr().err
