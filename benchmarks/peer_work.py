"""One measurement of one library, in its own Python; `peers.py` starts it and reads the JSON line it prints.

    python benchmarks/peer_work.py LIBRARY WORK

LIBRARY: swingup, swingup-paper (the action joins at layer 2), sb3, sbx, rejax; `-block` behind it: w1
and w2 in blocks of 50 steps, then their 50 updates. WORK: w1, w2 (training loops on Gymnasium), w1f
(fused TD3), w3 (seconds to a balanced pendulum; the environment variable STARTED holds the time at
which the process was started), update1, update2 (the pure update), matmul.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from typing import Any

# The same work for everybody: environment, widths, minibatch, replay.
WORK: dict[str, tuple[str, list[int], int, int]] = {
    "w1": ("Pendulum-v1", [400, 300], 64, 10_000),
    "w2": ("HalfCheetah-v5", [256, 256], 256, 1_000_000),
}
SIZES = {"w1": (3, 1), "w2": (17, 6)}
WARMUP, SETTLE, WINDOW, WINDOWS = 300, 300, 250, 6
GOAL, EPISODES = -200.0, 20
BLOCK = 50  # divides the windows, so that each holds whole blocks


class Enough(Exception):
    """The loop has been watched for long enough."""


def stamped(name: str, stamps: list[float]) -> Any:
    """The environment, its every step noting the time; it ends the training with Enough."""
    import gymnasium

    class Stamped(gymnasium.Wrapper):
        def step(self, action):
            stamps.append(time.perf_counter())
            if len(stamps) > WARMUP + SETTLE + WINDOW * WINDOWS:
                raise Enough
            return super().step(action)

    return Stamped(gymnasium.make(name))


def windows(stamps: list[float]) -> list[float]:
    """Microseconds per step of each window, warm-up and compilation left out."""
    first = WARMUP + SETTLE
    return [
        (stamps[i + WINDOW] - stamps[i]) / WINDOW * 1e6
        for i in range(first, first + WINDOW * WINDOWS, WINDOW)
    ]


def repeated(once: Any, count: int, rounds: int = 7) -> list[float]:
    """Microseconds per unit of work, `count` of them in a call of `once`; several rounds but the first."""
    out = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        once()
        out.append((time.perf_counter() - began) / count * 1e6)
    return out[1:]


def greedy(predict: Any) -> float:
    """Mean return of 20 greedy episodes of Gymnasium's pendulum, reset seeds 1000 to 1019."""
    import gymnasium

    env, total = gymnasium.make("Pendulum-v1"), 0.0
    for seed in range(1000, 1000 + EPISODES):
        obs, done = env.reset(seed=seed)[0], False
        while not done:
            obs, reward, terminated, truncated, _ = env.step(predict(obs))
            total, done = total + float(reward), terminated or truncated
    return total / EPISODES


def until_it_stands(advance: Any) -> dict[str, float]:
    """Train 1,000 steps at a time (`advance` gives the policy) until it reaches the goal, or 30,000 steps."""
    steps, mean = 0, -1e9
    while mean < GOAL and steps < 30_000:
        predict, steps = advance(), steps + 1000
        mean = greedy(predict)
    return {"steps": steps, "mean": mean}


# --- Stable-Baselines3 and SBX


def baselines(library: str, name: str, env: Any, **more: Any) -> Any:
    """Their DDPG for this work."""
    if library == "sb3":
        from stable_baselines3 import DDPG
    else:
        from sbx import DDPG
    from stable_baselines3.common.noise import NormalActionNoise

    _, hidden, batch, capacity = WORK[name]
    actions = env.action_space.shape[0]
    settings = {
        "learning_starts": WARMUP,
        "batch_size": batch,
        "buffer_size": capacity,
        "policy_kwargs": {"net_arch": hidden},
    }
    import numpy as np

    noise = NormalActionNoise(np.zeros(actions), 0.1 * np.ones(actions))
    each = {"train_freq": 1, "gradient_steps": 1}
    return DDPG("MlpPolicy", env, action_noise=noise, **{**each, **settings, **more})


def loop_baselines(library: str, name: str, block: int) -> list[float]:
    stamps: list[float] = []
    env = stamped(WORK[name][0], stamps)
    model = baselines(library, name, env, train_freq=block, gradient_steps=block)
    touch(model.replay_buffer)
    with contextlib.suppress(Enough):
        model.learn(10**9)
    return windows(stamps)


def touch(buffer: Any) -> None:
    """Make the replay resident, as it is once a run has filled it."""
    for array in vars(buffer).values():
        if hasattr(array, "fill") and hasattr(array, "dtype"):
            array[...] = array


def update_baselines(library: str, name: str) -> dict[str, list[float]]:
    import gymnasium

    model = baselines(library, name, gymnasium.make(WORK[name][0]))
    model.learn(WARMUP + 20)
    batch = WORK[name][2]

    def one() -> None:
        for _ in range(100):
            model.train(gradient_steps=1, batch_size=batch)

    return {
        "one": repeated(one, 100, 5),
        "many": repeated(lambda: model.train(gradient_steps=100, batch_size=batch), 100, 5),
    }


def stand_baselines(library: str, seed: int) -> dict[str, float]:
    """RL Zoo's settings for Pendulum-v1 (learning starts at step 1,000, not 10,000, in their favour)."""
    import gymnasium

    more = {
        "learning_rate": 1e-3,
        "gamma": 0.98,
        "learning_starts": 1000,
        "batch_size": 256,
        "buffer_size": 200_000,
        "seed": seed,
    }
    model = baselines(library, "w1", gymnasium.make("Pendulum-v1"), **more)

    def advance() -> Any:
        model.learn(1000, reset_num_timesteps=False)
        return lambda obs: model.predict(obs, deterministic=True)[0]

    return until_it_stands(advance)


# --- rejax


def rejax_td3(steps: int, **more: Any) -> Any:
    """rejax's TD3 on gymnax's pendulum, without its own evaluations."""
    from rejax import get_algo

    settings = dict(
        env="Pendulum-v1", total_timesteps=steps, eval_freq=steps, skip_initial_evaluation=True, **more
    )
    algo = get_algo("td3").create(**settings)
    return algo.replace(eval_callback=lambda algo, ts, rng: ())


def fused_rejax() -> list[float]:
    import jax
    from flax import linen as nn

    _, hidden, batch, capacity = WORK["w1"]
    algo = rejax_td3(WINDOW, buffer_size=capacity, batch_size=batch, fill_buffer=WARMUP)
    actor, critic = (
        net.clone(hidden_layer_sizes=tuple(hidden), activation=nn.relu) for net in (algo.actor, algo.critic)
    )
    algo = algo.replace(actor=actor, critic=critic)
    train = jax.jit(lambda state: algo.train(train_state=state)[0])
    state = algo.init_state(jax.random.PRNGKey(0))
    for _ in range(4):  # the random steps, and compilation
        state = jax.block_until_ready(train(state))
    box = [state]

    def once() -> None:
        box[0] = jax.block_until_ready(train(box[0]))

    return repeated(once, WINDOW, WINDOWS)


def stand_rejax(seed: int) -> dict[str, float]:
    """The settings that it publishes for TD3 on this pendulum (configs/gymnax/pendulum.yaml)."""
    import jax
    import numpy as np

    more = {
        "num_envs": 1,
        "buffer_size": 10_000,
        "fill_buffer": 1000,
        "batch_size": 100,
        "num_epochs": 1,
        "policy_delay": 2,
    }
    more |= {
        "learning_rate": 1e-3,
        "gamma": 0.99,
        "polyak": 0.95,
        "max_grad_norm": 100,
        "normalize_observations": True,
    }
    more |= {"exploration_noise": 0.3, "target_noise": 0.2, "target_noise_clip": 0.5}
    algo = rejax_td3(1000, **more)
    train = jax.jit(lambda state: algo.train(train_state=state)[0])
    act = jax.jit(lambda state, obs: algo.make_act(state)(obs, None))
    box = [algo.init_state(jax.random.PRNGKey(seed))]

    def advance() -> Any:
        box[0] = train(box[0])
        return lambda obs: np.atleast_1d(act(box[0], obs))

    return until_it_stands(advance)


# --- swingup


def settings(name: str, **more: Any) -> Any:
    from swingup.config.presets import base
    from swingup.config.settings import apply

    env, hidden, batch, capacity = WORK[name]
    same = {
        "env": env,
        "hidden": tuple(hidden),
        "action_layer": 1,
        "batch": batch,
        "capacity": capacity,
        "warmup": WARMUP,
        "updates": 1.0,
        "sigma": 0.1,
    }
    return apply(base(env, "ddpg"), {**same, **more}, "peers")


def loop_swingup(name: str, **more: Any) -> list[float]:
    """The command's own loop, logs and files included, as the peers' `learn` has theirs."""
    import tempfile

    import swingup

    stamps: list[float] = []
    config = settings(name, **more)
    names = ("hidden", "action_layer", "batch", "capacity", "warmup", "sigma", "block")
    same = {k: getattr(config, k) for k in names}
    with tempfile.TemporaryDirectory() as folder:
        try:
            swingup.train(
                lambda: stamped(config.env, stamps),
                preset="ddpg",
                quiet=True,
                run_dir=f"{folder}/run",
                **same,
                eval_every=10**8,
            )
        except Exception as error:  # what an environment raises arrives as the library's own error
            if len(stamps) <= WARMUP + SETTLE + WINDOW * WINDOWS:
                raise error
    return windows(stamps)


def plan_of(name: str, **more: Any) -> tuple[Any, Any, Any]:
    """The plan, a state with a full replay, and rows, as for a run of this work."""
    from functools import partial

    import jax
    import jax.numpy as jnp
    import numpy as np

    from swingup import runtime
    from swingup.core import engine
    from swingup.training.build import plan
    from swingup.types import Spec

    config = settings(name, **more)
    runtime.prepare(config.threads)
    o, a = SIZES[name]
    p = plan(config, Spec(config.env, (o,), (a,), "float32", (-1.0,) * a, (1.0,) * a))
    draw = np.random.default_rng(0).standard_normal
    state = jax.jit(partial(engine.init, p))(jax.random.PRNGKey(0))
    ring = jnp.asarray(draw(state.replay.rows.shape, np.float32))
    state = state._replace(
        replay=state.replay._replace(rows=ring, added=jnp.int32(len(ring))), iteration=jnp.int32(WARMUP)
    )
    return p, state, draw((p.block, p.n, p.agent.layout.width), np.float32)


def update_swingup(name: str) -> dict[str, list[float]]:
    from functools import partial

    import jax
    import numpy as np

    from swingup.core import engine

    threads = int(os.environ.get("THREADS", 0)) or len(os.sched_getaffinity(0))
    plan, state, rows = plan_of(name, threads=threads)
    improve = jax.jit(partial(engine.train_step, plan), donate_argnums=0)
    loop = jax.jit(
        lambda s: jax.lax.fori_loop(0, 100, lambda i, s: engine.train_step(plan, s, rows)[0], s),
        donate_argnums=0,
    )
    box = [state]

    def one() -> None:
        for _ in range(100):
            box[0], (_, metrics) = improve(box[0], rows)
            np.asarray(metrics)

    def many() -> None:
        box[0] = jax.block_until_ready(loop(box[0]))

    return {"one": repeated(one, 100), "many": repeated(many, 100)}


def fused_swingup() -> list[float]:
    from swingup import runtime
    from swingup.envs.registry import find
    from swingup.loops.fused import FusedLoop
    from swingup.training.build import plan

    config = settings("w1", env="native/Pendulum-v1", critics=2, delay=2, smoothing=0.2)
    runtime.prepare(config.threads)
    env = find(config.env)
    loop = FusedLoop(plan(config, env.spec), env, 0, every=(WINDOW,))

    def once() -> None:
        for _ in range(WINDOW // loop.plan.rows):
            loop.step()

    for _ in range(4):
        once()
    return repeated(once, WINDOW, WINDOWS)


def stand_swingup(env: str, seed: int) -> dict[str, float]:
    """Its preset for the pendulum, looked at every 1,000 steps as the others are."""
    from swingup import runtime
    from swingup.config.presets import base
    from swingup.config.settings import apply
    from swingup.envs.gym_env import GymEnv
    from swingup.envs.registry import factory, find, in_jax
    from swingup.training.build import plan

    config = apply(base(env, "auto"), {"env": env, "seed": seed}, "peers")
    runtime.prepare(config.threads)
    if in_jax(env):
        from swingup.loops.fused import FusedLoop

        jax_env = find(env)
        loop: Any = FusedLoop(plan(config, jax_env.spec), jax_env, seed, every=(1000,))
    else:
        from swingup.loops.host import HostLoop

        host = GymEnv(factory(env), config.envs)
        loop = HostLoop(plan(config, host.spec), host, seed, every=(1000,))

    def advance() -> Any:
        target = loop.steps + 1000
        while loop.steps < target:
            loop.step()
        return loop.policy()

    return until_it_stands(advance)


def matmul() -> dict[str, float]:
    """GFLOP/s of XLA's product in a hot loop, best of rounds, for the largest layers of W1 and W2."""
    os.environ["NPROC"] = os.environ.get("THREADS") or str(len(os.sched_getaffinity(0)))
    import jax
    import jax.numpy as jnp

    out = {}
    for name, (m, k, n) in {"w1": (64, 400, 300), "w2": (256, 256, 256)}.items():
        there, back = jnp.full((k, n), 1e-3), jnp.full((n, k), 1e-3)
        run = jax.jit(
            lambda x, there=there, back=back: jax.lax.fori_loop(0, 1000, lambda i, x: (x @ there) @ back, x)
        )
        x = jnp.ones((m, k))
        best = min(repeated(lambda run=run, x=x: run(x).block_until_ready(), 2000, 9))
        out[name] = 2 * m * k * n / best / 1e3
    return out


def main() -> None:
    library, work = sys.argv[1:3]
    block = BLOCK if library.endswith("-block") else 1
    library = library.removesuffix("-block")
    seed = int(os.environ.get("SEED", 0))
    answer: dict[str, Any]
    if work in WORK:
        paper = {"action_layer": 2} if library == "swingup-paper" else {}
        answer = {
            "us": loop_swingup(work, block=block, **paper)
            if library.startswith("swingup")
            else loop_baselines(library, work, block)
        }
    elif work == "w1f":
        answer = {"us": fused_swingup() if library == "swingup" else fused_rejax()}
    elif work.startswith("update"):
        name = "w" + work[-1]
        answer = dict(update_swingup(name) if library == "swingup" else update_baselines(library, name))
    elif work == "matmul":
        answer = dict(matmul())
    else:
        stand = {
            "swingup": lambda: stand_swingup("Pendulum-v1", seed),
            "swingup-native": lambda: stand_swingup("native/Pendulum-v1", seed),
            "rejax": lambda: stand_rejax(seed),
        }
        answer = dict(stand.get(library, lambda: stand_baselines(library, seed))())
        answer["seconds"] = time.time() - float(os.environ["STARTED"])
    answer["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
