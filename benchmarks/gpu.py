"""Where the time of an update goes on a GPU, and what XLA's command buffers (CUDA graphs) change.

    python benchmarks/gpu.py      one JSON line for each set of XLA's flags, each measured in its own process

The update is that of halfcheetah's sizes (17 observations, 6 actions, 256-256, minibatch 256) inside a
compiled loop of 2,000, and called one by one from Python; medians of several rounds. `kernels`: launches in
one update, counted in the compiled program's text (fusions, library calls, copies).
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from functools import partial

FLAGS = {
    "default": "",
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "command buffers from one kernel on": "--xla_gpu_graph_min_graph_size=1",
    "and around loops": "--xla_gpu_graph_min_graph_size=1 "
    "--xla_gpu_enable_command_buffer=FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONDITIONAL,WHILE",
    "Triton's products": "--xla_gpu_enable_triton_gemm=true --xla_gpu_graph_min_graph_size=1",
    "cuBLAS's products": "--xla_gpu_enable_triton_gemm=false --xla_gpu_graph_min_graph_size=1",
}
UPDATES, ROUNDS = 2_000, 7


def measure(name: str) -> dict[str, object]:
    """The figures of one set of flags, in this process."""
    import jax
    import numpy as np

    from swingup.core import engine
    from swingup.core.agent import Agent
    from swingup.core.engine import Plan
    from swingup.core.networks import Actor, Critic
    from swingup.core.noise import Gaussian

    found: dict[str, object] = {"flags": name, "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    for algorithm, more in (("ddpg", {}), ("td3", {"critics": 2, "delay": 2})):
        agent = Agent(
            Actor(17, 6, (256, 256)), Critic(17, 6, (256, 256), 1), Gaussian(0.1), batch=256, **more
        )
        plan = Plan(agent, capacity=10_000, warmup=1)
        rows = np.zeros((plan.block, 1, agent.layout.width), np.float32)
        state = jax.jit(partial(engine.init, plan))(jax.random.PRNGKey(0))
        state = state._replace(replay=state.replay._replace(added=state.replay.added + 10_000))
        step = jax.jit(lambda s, plan=plan, rows=rows: engine.train_step(plan, s, rows)[0], donate_argnums=0)
        many = jax.jit(
            lambda s, plan=plan, rows=rows: jax.lax.fori_loop(
                0, UPDATES // plan.block, lambda i, s: engine.train_step(plan, s, rows)[0], s
            ),
            donate_argnums=0,
        )
        text = step.lower(state).compile().as_text()
        body = text[text.rindex("ENTRY") :] if "ENTRY" in text else text
        kernels = round(
            len(re.findall(r" (?:fusion|custom-call|copy|dot|reduce|scatter|gather)\(", body)) / plan.block
        )
        state = jax.block_until_ready(many(state))
        inside, called = [], []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            state = jax.block_until_ready(many(state))
            inside.append((time.perf_counter() - start) / UPDATES * 1e6)
        state = jax.block_until_ready(step(state))
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(200):
                state = step(state)
            jax.block_until_ready(state)
            called.append((time.perf_counter() - start) / (200 * plan.block) * 1e6)
        found[algorithm] = {
            "in a loop, us": round(statistics.median(inside), 1),
            "called, us": round(statistics.median(called), 1),
            "kernels": kernels,
        }
    return found


def main() -> int:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])), flush=True)
        return 0
    for name, flags in FLAGS.items():
        env = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
        done = subprocess.run(
            [sys.executable, __file__, name], env=env, capture_output=True, text=True, timeout=300
        )
        print(done.stdout.strip() or json.dumps({"flags": name, "error": done.stderr[-300:]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
