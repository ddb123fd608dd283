"""`train`: from settings to a run's folder. It only sequences; the engine, the logs and the files are elsewhere."""

from __future__ import annotations

import dataclasses
import json
import shlex
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swingup import store
from swingup.config import Config, apply, base, check, plan
from swingup.envs.gym import GymEnv, factory, name_of
from swingup.errors import Diverged, EnvFault
from swingup.evaluate import Evaluation, evaluate_policy
from swingup.run import LOCKSTEP, Run, figures


def train(env: Any, *, preset: str = "auto", run_dir: str | Path | None = None, quiet: bool = False, **settings: Any) -> Run:
    """Train a policy and return its run.

    env: a Gymnasium id, `module:Id`, an environment that was made from an id, or a function that makes one.
    settings: fields of `Config` (`steps=`, `seed=`, `gamma=` ...); they win over the preset. run_dir: a new folder for
    the run, else one under runs/. Raises InputError (a ValueError) for settings or environments that cannot be used,
    EnvFault where the environment breaks its contract on the way, Diverged where a gradient stops being finite.
    """
    make = factory(env)
    name = env if isinstance(env, str) else describe(make)
    config = apply(base(name, preset), {"env": name, **settings}, "train")
    arguments = ", ".join(f"{k}={v!r}" for k, v in {"preset": preset, **settings}.items())
    return run_training(check(config), env, Path(run_dir) if run_dir else None, quiet, f"swingup.train({name!r}, {arguments})")


def describe(make: Any) -> str:
    env = make()
    try:
        return name_of(env)
    finally:
        env.close()


def run_training(config: Config, env: Any, run_dir: Path | None, quiet: bool, command: str = "") -> Run:
    """One run, from an empty folder to its closing evaluation. Reports on stderr unless quiet."""
    started = time.monotonic()
    make = factory(env)
    training, testing = GymEnv(make, config.envs, config.env), None
    from swingup import runtime

    runtime.prepare(config.threads)
    from rich.console import Console

    from swingup.log import Bar, Logs
    from swingup.loop import HostLoop

    console = Console(stderr=True, highlight=False, quiet=quiet)
    folder = store.new_folder(config, run_dir)
    store.write_config(folder, config, command or shlex.join(["swingup", *sys.argv[1:]]))
    console.print(f"{config.env} · preset {config.preset} · seed {config.seed} · {runtime.device_line(config.threads)}")
    logs = Logs(folder, config.envs, console.print)
    logs.settings(dataclasses.asdict(config))
    bar = Bar(console, config.steps)
    try:
        testing = GymEnv(make, min(LOCKSTEP, max(config.eval_episodes, config.final_episodes)), config.env)
        loop = HostLoop(plan(config, training.spec), training, config.seed)
        keeper = Keeper(config, folder, loop, testing, [logs, bar])
        with interruptible() as stop:
            finish(config, loop, keeper, stop)
    finally:
        bar.close()
        logs.close()
        for e in (training, testing):
            if e is not None:
                e.close()
    if keeper.last is not None:
        steps = loop.iteration * config.envs
        result = figures(keeper.last, folder, time.monotonic() - started, steps)
        store.write(folder / "result.json", json.dumps(result) + "\n")
    return Run(folder, None if isinstance(env, str) else env)


def finish(config: Config, loop: Any, keeper: Keeper, stop: dict) -> None:
    """Tick until the steps are done, evaluating on the way; keeps the policy whatever happens."""
    step = 0
    try:
        while step < config.steps and not stop["asked"]:
            tick = loop.tick()
            for report in keeper.reports:
                report.tick(tick)
            before, step = step, tick.step
            if step // config.eval_every > before // config.eval_every and step < config.steps:
                keeper.evaluate(step, config.eval_episodes)
    except (EnvFault, Diverged) as error:
        error.add_note(f"the policy of step {step} is in {keeper.folder}")
        raise
    finally:
        keeper.save("last")
    if not stop["asked"]:
        keeper.last = keeper.evaluate(step, config.final_episodes)


class Keeper:
    """Evaluates the policy now and then, and keeps the best and the last."""

    def __init__(self, config: Config, folder: Path, loop: Any, env: GymEnv, reports: list[Any]):
        self.config, self.folder, self.loop, self.env, self.reports = config, folder, loop, env, reports
        self.best = -float("inf")
        self.last: Evaluation | None = None

    def evaluate(self, step: int, episodes: int) -> Evaluation:
        evaluation = evaluate_policy(self.loop.policy(), self.env, episodes, self.config.seed)
        for report in self.reports:
            report.evaluation(step, evaluation)
        if evaluation.mean > self.best:
            self.best = evaluation.mean
            self.save("best")
        return evaluation

    def save(self, name: str) -> None:
        store.save_policy(self.folder / "policy" / f"{name}.safetensors", self.loop.policy())


@contextmanager
def interruptible():
    """Ctrl-C asks the loop to stop after its step (so that nothing is half done); a second one stops at once."""
    stop = {"asked": False}

    def ask(signum, frame):
        if stop["asked"]:
            raise KeyboardInterrupt
        stop["asked"] = True

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
