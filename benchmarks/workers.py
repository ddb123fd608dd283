"""How throughput grows with workers: `benchmarks/workers.py 1 2 4 8`, for an environment of 20 ms a step.

Prints, for each number of workers, environment steps a second, the share of the time in which the learner
waits for rows, and the processor time for each step, in milliseconds: that of the learner's process, and that
of all others (workers and Ray). All have the same environments, 8 or --envs, and learn once for each step.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import gymnasium
import numpy as np
import psutil

from swingup import runtime
from swingup.cluster.train import ClusterBuilder
from swingup.config.settings import Config
from swingup.training.build import RunBuilder
from swingup.training.environments import open_environments
from swingup.training.options import Options


class Slow(gymnasium.Env):
    """An environment that takes some milliseconds a step, without using the processor: a simulator's wait."""

    def __init__(self, milliseconds: float):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (17,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (6,), np.float32)
        self.seconds, self.t = milliseconds / 1000, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.np_random.normal(size=17).astype(np.float32), {}

    def step(self, action):
        time.sleep(self.seconds)
        self.t += 1
        return self.np_random.normal(size=17).astype(np.float32), 0.0, False, self.t == 1000, {}


def processor_time() -> tuple[float, float]:
    """Seconds of processor time so far: of this process, and of those that it has started."""
    others = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            others += sum(child.cpu_times()[:2])
    return time.process_time(), others


def measure(workers: int, wanted: argparse.Namespace) -> dict[str, float]:
    """Steps a second and the learner's idle share with this many workers."""
    settings = {"hidden": (wanted.hidden,) * 2, "batch": wanted.batch, "envs": wanted.envs, "threads": 1}
    settings |= {"block": wanted.block}
    config = Config(env="Slow", steps=10**6, warmup=wanted.envs * 10, on="ray", workers=workers, **settings)
    make = lambda ms=wanted.milliseconds: Slow(ms)
    builder = ClusterBuilder(RunBuilder(config), make, Options(quiet=True))
    builder.folder = Path(tempfile.mkdtemp())
    try:
        with open_environments(builder.environments(make, builder.options)) as envs:
            loop = builder.loop(envs)
            while loop.filled < loop.plan.warmup_iterations + 2 + 8 // wanted.block:
                loop.step()
            waited, receive = [0.0], loop.receive

            def timed():
                since = time.perf_counter()
                found = receive()
                waited[0] += time.perf_counter() - since
                return found

            loop.receive = timed
            since, before, used = time.perf_counter(), loop.steps, processor_time()
            while time.perf_counter() - since < wanted.seconds:
                loop.step()
            seconds, steps = time.perf_counter() - since, loop.steps - before
            learner, others = 1000 * (np.array(processor_time()) - used) / steps
    finally:
        builder.close()
    return {
        "workers": workers,
        "steps_per_second": round(steps / seconds, 1),
        "idle": round(waited[0] / seconds, 3),
        "learner_ms": round(float(learner), 2),
        "others_ms": round(float(others), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workers", type=int, nargs="+")
    parser.add_argument("--envs", type=int, default=8)
    parser.add_argument("--block", type=int, default=1, help="steps of each environment in an iteration")
    parser.add_argument("--milliseconds", type=float, default=20.0)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=15.0)
    wanted = parser.parse_args()
    runtime.prepare(1)
    for workers in wanted.workers:
        print(json.dumps(measure(workers, wanted)), flush=True)


if __name__ == "__main__":
    main()
