"""Every script of benchmarks/ runs on the code of today: a short round of each, in a copy of the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = "'--warmup', '300', '--hidden', '8', '8', '--final-episodes', '1'"
ROUNDS = {
    "growth": "growth.ROUNDS, growth.CALLS = 1, 2; sys.argv[1:] = ['envs', 'obs']; growth.main()",
    "fused": "fused.ENVS, fused.SEEDS, fused.REPEATS, fused.UPDATES = (1, 8), (1, 2), 1, 16; fused.main()",
    "precision": "assert precision.main() == 2",
    "workers": "sys.argv[1:] = '2 --envs 2 --hidden 8 --batch 8 --seconds 1'.split(); workers.main()",
    "options": "options.SEEDS = range(1); options.TASKS = {'history': (options.angle, {'steps': 600, "
    "'warmup': 300, 'hidden': (8, 8)}, {'history': 4}, 'mean', True)}; options.main([])",
    "demonstrations": "demonstrations.STEPS, demonstrations.SEEDS, demonstrations.SHOWN = 600, 1, 400; "
    f"demonstrations.PLAIN = ['--steps', '600', '--eval-every', '300', {TINY}]; "
    "sys.argv[1:] = []; demonstrations.main()",
    "learning": "learning.SETS = (dataclasses.replace(learning.SETS[0], name='tiny', steps=600, seeds=2, "
    f"flags=({TINY})),); sys.argv[1:] = ['--jobs', '2']; learning.main()",
    "picture": "sys.argv[1:] = ['--output', 'picture.gif']; picture.main()",
    "gpu": "gpu.UPDATES, gpu.ROUNDS = 4, 1; print(gpu.measure('default'))",
    "peer_work": "peer_work.WARMUP, peer_work.SETTLE, peer_work.WINDOW, peer_work.WINDOWS = 100, 50, 50, 1; "
    "sys.argv[1:] = ['swingup-block', 'w1']; peer_work.main()",
    "peers": "print(peers.page({}, 1))",
    "faults": "sys.argv[1:] = ['starts', '--count', '1']; assert faults.main() in (0, None)",
}


def test_every_script_has_a_round():
    assert set(ROUNDS) == {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROUNDS)
def test_a_short_round_runs(name, tmp_path):
    for folder in ("benchmarks", "faultcases", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    paths = os.pathsep.join(map(str, (tmp_path / "benchmarks", tmp_path, ROOT / "src")))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, dataclasses, {name}\n{ROUNDS[name]}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]


@pytest.mark.slow
def test_what_guards_cost_is_measured_with_the_same_loop_with_and_without_them(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(ROOT))
    import faults

    [row] = faults.guards(faults.Wanted(None, 1, tmp_path), block=5)
    assert row.cases == 2
    assert row.note.endswith("2 rounds) of the time of a step")
