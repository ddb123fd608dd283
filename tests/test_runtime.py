"""Facts about the process and the machine: threads as they are, memory as its containers leave it."""

import subprocess
import sys

import pytest

import swingup
from swingup import runtime
from swingup.storage import checkpoint_reader

SMALL = "steps=60, warmup=20, hidden=(8, 8), batch=8, eval_every=30, eval_episodes=1, final_episodes=1"


@pytest.mark.slow
def test_a_thread_count_that_cannot_be_applied_is_said_and_recorded_as_it_was(tmp_path):
    """JAX has begun with 2 threads: `threads=1` is a wish. `verify` repeats it with 2."""
    code = f"""if True:
        import os
        os.environ["NPROC"] = "2"
        import jax
        jax.devices()
        import swingup
        swingup.train("Pendulum-v1", threads=1, {SMALL}, run_dir={str(tmp_path / "run")!r})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "on CPU, 2 threads" in done.stderr
    assert "warning: --threads 1: JAX has already started in this process with 2" in done.stderr
    saved = checkpoint_reader.load(tmp_path / "run" / "ckpt")
    assert saved.about["profile"]["threads"] == 2
    command = [sys.executable, "-m", "swingup"]
    done = subprocess.run([*command, "verify", str(tmp_path / "run")], capture_output=True, text=True)
    assert "the same to the last bit" in done.stdout, done.stderr
    done = subprocess.run(
        [*command, "resume", str(tmp_path / "run"), "--steps", "90", "--require-exact", "--quiet"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "threads was 2, is 1" in done.stderr


def group(root, path, files):
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("cgroup", "groups", "left"),
    [
        ("0::/a/b\n", {"sys/fs/cgroup/a/b": {"memory.max": "max", "memory.current": "7"}}, 8000 * 1024),
        ("0::/a/b\n", {"sys/fs/cgroup/a": {"memory.max": "3000", "memory.current": "1000"}}, 2000),
        ("0::/\n", {"sys/fs/cgroup": {"memory.max": "3000", "memory.current": "2500"}}, 500),
        (
            "5:cpu:/x\n4:memory:/a/b\n",
            {
                "sys/fs/cgroup/memory/a": {"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "300"},
                "sys/fs/cgroup/memory": {"memory.limit_in_bytes": "9" * 18, "memory.usage_in_bytes": "300"},
            },
            600,
        ),
    ],
)
def test_the_free_memory_is_what_every_container_around_leaves(cgroup, groups, left, tmp_path):
    group(tmp_path, "proc", {"meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"})
    group(tmp_path, "proc/self", {"cgroup": cgroup})
    for path, files in groups.items():
        group(tmp_path, path, files)
    assert runtime.free_memory(tmp_path) == left


def test_a_policy_acts_with_numpy_and_safetensors_alone(tmp_path):
    run = swingup.train(
        "Pendulum-v1", steps=60, warmup=20, hidden=(8, 8), batch=8, final_episodes=1, normalize=True,
        quiet=True, run_dir=tmp_path / "run",
    )  # fmt: skip
    code = f"""if True:
        import sys
        class Gate:
            def find_spec(self, name, path=None, target=None):
                top = name.partition(".")[0]
                allowed = "swingup", "numpy", "safetensors", "ml_dtypes"
                if top not in (*sys.stdlib_module_names, *allowed):
                    raise ImportError(name)
        sys.meta_path.insert(0, Gate())
        import swingup
        policy = swingup.load_policy({str(tmp_path / "run" / "policy" / "last.safetensors")!r})
        print(repr(policy([1.0, 0.0, 0.5]).tobytes()))
    """
    code = code.replace("import sys\n", f"import sys\n        sys.path[:] = {sys.path!r}\n", 1)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == repr(run.policy([1.0, 0.0, 0.5]).tobytes()), done.stderr
