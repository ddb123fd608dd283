"""Training speed: an iteration called by itself and an update in a compiled block, on each kind of device."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from swingup import runtime
from swingup.config.settings import Config, apply
from swingup.training.build import plan
from swingup.types import Spec

# Transitions in replay while measuring (the cost does not grow with the capacity); D updates each in a block.
POOL, BLOCK = 4096, 50
# XLA's flag for products that are not divided among the CPU's threads: whole operations share them instead.
UNDIVIDED = "--xla_cpu_multi_thread_eigen=false"


@dataclass(frozen=True)
class Speed:
    """Median microseconds on one device.

    iteration_us: of an iteration called by itself, as the host loop does (`engine.train_step`); update_us: of
    one update in a compiled block of them; threads: 0 where the device is not a CPU; flags: XLA's, beyond
    those of the environment.
    """

    device: str
    threads: int
    iteration_us: float
    update_us: float
    flags: str = ""

    @property
    def name(self) -> str:
        """The device, a CPU with its number of threads."""
        threads = f", {several(self.threads, 'thread')}" if self.threads else ""
        return f"{self.device}{threads}{', undivided products' if self.flags == UNDIVIDED else ''}"


def compute(obs: int, actions: int, settings: dict[str, Any], seconds: float) -> dict[str, Any]:
    """In a child process: JAX's devices by name, and a Speed (as a dictionary) of each kind and the CPU."""
    config = apply(Config(), settings, "doctor")
    runtime.prepare(config.threads)
    import jax

    devices = jax.devices()
    kinds = {name_of(d): d for d in reversed(devices)}
    with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS may exclude the CPU
        kinds.setdefault("CPU", jax.devices("cpu")[0])
    spec = Spec("", (obs,), (actions,), "float32", (-1.0,) * actions, (1.0,) * actions)
    speeds = []
    for name, device in kinds.items():
        times = measure(plan(replace(config, capacity=POOL), spec), device, seconds / len(kinds))
        speeds.append(dataclasses.asdict(Speed(name, config.threads if name == "CPU" else 0, *times)))
    return {"devices": [name_of(d) for d in devices], "speeds": speeds}


def name_of(device: Any) -> str:
    """`CPU`, or the model of another device."""
    return "CPU" if device.platform == "cpu" else device.device_kind


def measure(plan: Any, device: Any, seconds: float) -> tuple[float, float]:
    """Median microseconds on a JAX device of an `engine.train_step`, and of an update in a compiled block."""
    import jax

    from swingup.core import agent as algorithm
    from swingup.core import engine, replay_buffer

    agent, layout = plan.agent, plan.agent.layout
    rows = (
        np.random.default_rng(0)
        .uniform(-1, 1, (-(-plan.capacity // plan.n), plan.n, layout.width))
        .astype(np.float32)
    )
    layout.unpack(rows).discount[:], layout.unpack(rows).last[:] = 1, 0

    def start(key: Any) -> Any:
        state = engine.init(plan, key)
        return state._replace(replay=replay_buffer.add(state.replay, rows))

    with jax.default_device(device):
        state = jax.jit(start)(jax.random.key(0))
        batches = jax.device_put(
            np.resize(rows, (BLOCK, agent.delay, agent.batch, agent.n_step, layout.width))
        )
        train_step = jax.jit(partial(engine.train_step, plan), donate_argnums=0)

        def iteration() -> None:
            nonlocal state
            state, (_, metrics) = train_step(state, rows[: plan.block])
            np.asarray(metrics)  # the host loop waits for them

        def update(learner: Any, batch: Any) -> Any:
            learner, metrics, _ = algorithm.update(
                agent, learner, replay_buffer.n_step_batch(layout, batch, agent.gamma), jax.random.key(0)
            )
            return learner, metrics

        many = jax.jit(partial(jax.lax.scan, update), donate_argnums=0)

        def block() -> None:
            nonlocal state
            learner, metrics = many(state.learner, batches)
            state = state._replace(learner=learner)
            np.asarray(metrics.finite)

        return median(iteration, seconds / 2), median(block, seconds / 2) / (BLOCK * agent.delay)


def median(step: Callable[[], None], seconds: float) -> float:
    """Median microseconds of step(), called for `seconds`; the first call, which compiles, is left out."""
    step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return round(1e6 * statistics.median(times), 1)


def several(n: int, word: str) -> str:
    """The number and the word, with an s unless n is 1."""
    return f"{n} {word}{'s' * (n != 1)}"
