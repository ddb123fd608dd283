"""`train`: from settings to a run's folder. It only sequences; the engine, the logs and the files are elsewhere."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from swingup import runtime, store
from swingup.config import Config, apply, base, check, plan
from swingup.envs.gym import GymEnv, factory
from swingup.errors import Diverged, EnvFault, InputError
from swingup.evaluate import Evaluation, evaluate_policy
from swingup.plot import Curve, in_notebook
from swingup.run import LOCKSTEP, Run, figures
from swingup.video import Recorder, cubic, need_display, rendering

if TYPE_CHECKING:
    from swingup.agent import Agent
    from swingup.loop import HostLoop


@dataclass(frozen=True)
class Options:
    """How a run shows itself; nothing here changes a byte of what it learns."""

    run_dir: Path | None = None
    """A new folder for the run; by default one under runs/."""
    quiet: bool = False
    """No progress: only the closing line."""
    record: bool = False
    """Film training episodes 0, 1, 8, 27, ..., 1000, 2000, ... of the first environment into the run's videos/."""
    render: bool = False
    """Show the first environment in a window while it trains."""


def train(
    env: Any,
    *,
    preset: str = "auto",
    run_dir: str | Path | None = None,
    quiet: bool = False,
    record: bool = False,
    render: bool = False,
    **settings: Any,
) -> Run:
    """Train a policy and return its run.

    env: a Gymnasium id, `module:Id`, an environment that was made from an id, or a function that makes one.
    settings: fields of `Config` (`steps=`, `seed=`, `gamma=` ...); they win over the preset. run_dir: a new folder for
    the run, else one under runs/. record: film training episodes; render: show them in a window.

    Raises InputError (a ValueError) for settings or environments that cannot be used, EnvFault where the environment breaks
    its contract on the way, Diverged where a gradient stops being finite, KeyboardInterrupt where it was stopped; the
    policy until then is kept.
    """
    name = env if isinstance(env, str) else describe(factory(env))
    config = check(apply(base(name, preset), {"env": name, **settings}, "train"))
    arguments = ", ".join(f"{k}={v!r}" for k, v in {"preset": preset, **settings}.items())
    options = Options(Path(run_dir) if run_dir else None, quiet, record, render)
    run = run_training(config, env, options, f"swingup.train({name!r}, {arguments})")
    if not run.result:
        raise KeyboardInterrupt(f"training stopped; the policy is in {run.folder}")
    return run


def describe(make: Any) -> str:
    with closing(GymEnv(make)) as env:
        return env.spec.env


def run_training(config: Config, env: Any, options: Options, command: str) -> Run:
    """One run, from an empty folder to its closing evaluation; `command` is what is written down as having started it."""
    started = time.monotonic()
    with ExitStack() as stack:
        # The environments first: an id or a space that cannot work is refused before JAX is imported or a folder made.
        make = makers(config, env, options)
        training = stack.enter_context(closing(GymEnv(make, config.envs, config.env, config.episode_steps)))
        if not isinstance(env, str) and make().unwrapped is training.envs[0].unwrapped:
            raise InputError(f"environment {config.env}: the function returns the same object each time; let it make a new one")
        copies = min(LOCKSTEP, max(config.eval_episodes, config.final_episodes))
        testing = stack.enter_context(closing(GymEnv(factory(env), copies, config.env, config.episode_steps)))
        folder = store.new_folder(config, options.run_dir)
        runtime.prepare(config.threads)
        from rich.console import Console

        from swingup.loop import HostLoop

        # In a notebook stderr has a red ground, and rich would put a page of HTML around every line.
        console = Console(stderr=not in_notebook(), highlight=False, quiet=options.quiet, force_jupyter=False)
        store.write_config(folder, config, command)
        if not isinstance(env, str):
            store.write(folder / "factory.txt", f"made from {env!r}, which only Python can give again: swingup.load(folder, env)\n")
        if options.record:
            training.envs[0] = Recorder(training.envs[0], folder / "videos", cubic, console.print)
        console.print(f"{config.env} · preset {config.preset} · seed {config.seed} · {runtime.device_line(config.threads)}")
        engine = plan(config, training.spec)
        reports = [stack.enter_context(closing(r)) for r in reporters(config, engine.agent, folder, console)]
        loop = HostLoop(engine, training, config.seed)
        keeper = Keeper(config, folder, loop, testing, reports)
        last = finish(config, loop, keeper, stack.enter_context(interruptible()))
    if last is not None:
        result = figures(last, folder, time.monotonic() - started, loop.steps)
        store.write(folder / "result.json", json.dumps(result) + "\n")
    return Run(folder, None if isinstance(env, str) else env)


def makers(config: Config, env: Any, options: Options) -> Callable[[], gymnasium.Env]:
    """A function that makes the training environments one after the other, the first as one that draws if it is to be seen."""
    plain = factory(env)
    if options.render and options.record:
        raise InputError("--render --record: an environment draws on a window or into a file, not both; choose one")
    if options.render:
        need_display("--render")
    if not (options.render or options.record):
        return plain
    mode = "human" if options.render else "rgb_array"
    makes = chain([lambda: rendering(factory(env, render_mode=mode), mode, config.env)], repeat(plain))
    return lambda: next(makes)()


def reporters(config: Config, agent: Agent, folder: Path, console: Any) -> list[Any]:
    """What looks on: each has `tick(tick)`, `evaluation(step, evaluation)` and `close()`."""
    from swingup.log import Bar, Lines, Logs

    logs = Logs(folder, console.print)
    logs.settings(dataclasses.asdict(config))
    logs.graph(agent)
    curve: list[Any] = [Curve(config.env)] if in_notebook() and not console.quiet else []
    if config.episode_lines or not (console.is_terminal or curve):
        return [logs, *curve, Lines(console, config.episode_lines)]
    return [logs, *(curve or [Bar(console, config.steps, config.episodes)])]


def finish(config: Config, loop: HostLoop, keeper: Keeper, stop: dict[str, bool]) -> Evaluation | None:
    """Tick until the budget is spent, evaluating on the way; keeps the policy whatever happens. None if interrupted."""
    step = episodes = 0
    enough = config.episodes or math.inf
    try:
        while step < config.steps and episodes < enough and not stop["asked"]:
            tick = loop.tick()
            for report in keeper.reports:
                report.tick(tick)
            before, step = step, tick.step
            episodes += len(tick.episodes)
            due = step // config.eval_every > before // config.eval_every
            if due and step < config.steps and episodes < enough:
                keeper.evaluate(step, config.eval_episodes)
    except (EnvFault, Diverged, KeyboardInterrupt) as error:
        error.add_note(f"the policy of step {step} is in {keeper.folder}")
        raise
    finally:
        keeper.save("last")
    return None if stop["asked"] else keeper.evaluate(step, config.final_episodes)


class Keeper:
    """Evaluates the policy now and then, and keeps the best and the last."""

    def __init__(self, config: Config, folder: Path, loop: HostLoop, env: GymEnv, reports: list[Any]):
        self.config, self.folder, self.loop, self.env, self.reports = config, folder, loop, env, reports
        self.best = -math.inf

    def evaluate(self, step: int, episodes: int) -> Evaluation:
        evaluation = evaluate_policy(self.loop.policy(), self.env, episodes, self.config.seed)
        for report in self.reports:
            report.evaluation(step, evaluation)
        self.save("last")
        if evaluation.mean > self.best:
            self.best = evaluation.mean
            self.save("best")
        return evaluation

    def save(self, name: str) -> None:
        store.save_policy(self.folder / "policy" / f"{name}.safetensors", self.loop.policy())


@contextmanager
def interruptible():
    """Ctrl-C (or SIGTERM) asks the loop to stop after its step (so that nothing is half done); a second one stops at once."""
    stop = {"asked": False}

    def ask(signum, frame):
        if stop["asked"]:
            raise KeyboardInterrupt
        stop["asked"] = True
        print("swingup: stopping after this step or evaluation; once more stops at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
