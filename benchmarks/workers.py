"""How throughput grows with workers: `benchmarks/workers.py 1 2 4 8`, for an environment of 20 ms a step.

Prints, for each number of workers, environment steps a second, the share of the time in which the learner
waits for rows, and the processor time of the learner's process for each step, in milliseconds. All have the
same environments, 8 or --envs, and learn once for each step.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import gymnasium
import numpy as np

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


def measure(workers: int, wanted: argparse.Namespace) -> dict[str, float]:
    """Steps a second and the learner's idle share with this many workers."""
    settings = {"hidden": (wanted.hidden,) * 2, "batch": wanted.batch, "envs": wanted.envs, "threads": 1}
    config = Config(env="Slow", steps=10**6, warmup=wanted.envs * 10, on="ray", workers=workers, **settings)
    make = lambda ms=wanted.milliseconds: Slow(ms)
    builder = ClusterBuilder(RunBuilder(config), make, Options(quiet=True))
    builder.folder = Path(tempfile.mkdtemp())
    try:
        with open_environments(builder.environments(make, builder.options)) as envs:
            loop = builder.loop(envs)
            while loop.filled < loop.plan.warmup_iterations + 10:
                loop.step()
            waited, receive = [0.0], loop.receive

            def timed():
                since = time.perf_counter()
                found = receive()
                waited[0] += time.perf_counter() - since
                return found

            loop.receive = timed
            since, before, used = time.perf_counter(), loop.steps, time.process_time()
            while time.perf_counter() - since < wanted.seconds:
                loop.step()
            seconds, used = time.perf_counter() - since, time.process_time() - used
    finally:
        builder.close()
    return {
        "workers": workers,
        "steps_per_second": round((loop.steps - before) / seconds, 1),
        "idle": round(waited[0] / seconds, 3),
        "cpu_ms_per_step": round(1000 * used / (loop.steps - before), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workers", type=int, nargs="+")
    parser.add_argument("--envs", type=int, default=8)
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
