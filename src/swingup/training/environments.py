"""The environments of a run: one context manager makes, checks and closes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, NamedTuple

import gymnasium

from swingup import runtime
from swingup.envs.api import VectorEnv
from swingup.envs.closing import close_all
from swingup.envs.goals import Goals, goals_of_gym, goals_of_jax
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory, find, in_jax, make_eval_envs
from swingup.envs.rendering import need_display, rendering
from swingup.errors import InputError


class Environments(NamedTuple):
    """What a run trains on (a `VectorEnv`, or a `JaxEnv` in the fused loop), and copies to evaluate on.

    goals: what hindsight needs of them, if it is wanted.
    """

    training: Any
    evaluation: VectorEnv
    goals: Goals | None = None


@dataclass(frozen=True)
class EnvironmentRequest:
    """The environments that a run needs.

    source: an id, a Gymnasium object or a function that makes one; name: its name in errors; n: environments
    to train on; copies: environments to evaluate on side by side; limit: steps after which an episode is
    truncated; workers: processes that step them (None: this one); devices: how many share them; threads,
    exact: see `runtime.prepare`; record, render: whether the first one draws; elsewhere: whether others make
    those to train on; hindsight: whether goals are relabelled.
    """

    source: Any
    name: str
    n: int
    copies: int
    limit: int | None
    workers: int | None
    devices: int
    threads: int
    exact: bool = False
    record: bool = False
    render: bool = False
    quiet: bool = False
    elsewhere: bool = False
    hindsight: bool = False


@contextmanager
def open_environments(wanted: EnvironmentRequest) -> Iterator[Environments]:
    """Make the environments of a run, and close them at the end; what fails there is one warning."""
    opened: list[VectorEnv] = []
    try:
        if wanted.elsewhere:
            training: Any = None
            refuse_here(wanted)
        elif in_jax(wanted.name):
            training = in_compiled_loop(wanted)
        else:
            training = in_this_process(wanted) if wanted.workers is None else in_workers(wanted, wanted.n)
            opened.append(training)
            if isinstance(training, GymEnv):
                refuse_one_object(wanted, training)
        goals = goals_of(wanted, training, opened) if wanted.hindsight else None
        evaluation = evaluated(wanted)
        opened.append(evaluation)
        yield Environments(training, evaluation, goals)
    finally:
        close_all(*opened)


def goals_of(wanted: EnvironmentRequest, training: Any, opened: list[VectorEnv]) -> Goals:
    """What hindsight needs; it asks an environment of its own, which is added to `opened`."""
    if in_jax(wanted.name):
        return goals_of_jax(training, wanted.limit)
    judge = GymEnv(factory(wanted.source), 1, wanted.name, wanted.limit)
    opened.append(judge)
    return goals_of_gym(judge)


def evaluated(wanted: EnvironmentRequest) -> VectorEnv:
    """The copies to evaluate on: in this process, or in worker processes as those to train on."""
    if wanted.workers is None:
        return make_eval_envs(wanted.source, wanted.copies, wanted.name, wanted.limit)
    return in_workers(wanted, wanted.copies, "evaluation: ")


def in_this_process(wanted: EnvironmentRequest) -> GymEnv:
    """Gymnasium environments, stepped one after the other."""
    refuse_devices(wanted)
    return GymEnv(maker(wanted), wanted.n, wanted.name, wanted.limit)


def in_workers(wanted: EnvironmentRequest, n: int, role: str = "") -> VectorEnv:
    """n Gymnasium environments in processes of their own; role: what their reports begin with."""
    from swingup.envs.subprocess_env import SubprocessVectorEnv

    refuse_devices(wanted)
    if wanted.record or wanted.render:
        raise InputError(
            "--workers: environments in other processes are not drawn; "
            "leave --workers out, or film afterwards: swingup video RUN"
        )
    say = lambda line: None if wanted.quiet else print(f"swingup: {role}{line}", file=sys.stderr)
    workers = min(wanted.workers or 1, n)
    return SubprocessVectorEnv(factory(wanted.source), n, workers, wanted.name, wanted.limit, report=say)


def in_compiled_loop(wanted: EnvironmentRequest) -> Any:
    """An environment written in JAX, for the fused loop."""
    if wanted.record or wanted.render:
        flag = "--record" if wanted.record else "--render"
        raise InputError(
            f"{flag}: {wanted.name} is compiled together with the training and draws nothing; "
            "film it afterwards: swingup video RUN"
        )
    if wanted.workers is not None:
        raise InputError(
            f"--workers {wanted.workers}: {wanted.name} is compiled together with the training; "
            "leave --workers out"
        )
    runtime.prepare(wanted.threads, wanted.exact)
    if wanted.devices > 1:
        from swingup.core.sharding import share_devices

        share_devices(wanted.devices)  # too few devices are an error now, before there is a run folder
    return find(wanted.name)


def refuse_here(wanted: EnvironmentRequest) -> None:
    """InputError for what environments of other machines cannot do."""
    refuse_devices(wanted)
    if in_jax(wanted.name):
        raise InputError(
            f"--on: {wanted.name} is compiled together with the training; leave --on and --workers out"
        )
    if wanted.record or wanted.render:
        raise InputError(
            "--on: environments of other machines are not drawn; film afterwards: swingup video RUN"
        )


def refuse_devices(wanted: EnvironmentRequest) -> None:
    if wanted.devices > 1:
        raise InputError(
            f"--devices {wanted.devices}: {wanted.name} runs in Python; "
            "only environments in JAX are shared (native/...)"
        )


def refuse_one_object(wanted: EnvironmentRequest, training: GymEnv) -> None:
    """InputError if a function returns one object each time: training and evaluation would share it."""
    if (
        not isinstance(wanted.source, str)
        and factory(wanted.source)().unwrapped is training.envs[0].unwrapped
    ):
        what = "the function returns the same object each time; let it make a new one"
        raise InputError(f"environment {wanted.name}: {what}")


def maker(wanted: EnvironmentRequest) -> Callable[[], gymnasium.Env]:
    """A function that makes the environments one after the other; the first one draws if it should."""
    plain = factory(wanted.source)
    if wanted.render and wanted.record:
        raise InputError(
            "--render --record: an environment draws on a window or into a file, not both; choose one"
        )
    if wanted.render:
        need_display("--render")
    if not (wanted.render or wanted.record):
        return plain
    mode = "human" if wanted.render else "rgb_array"
    drawing = lambda: rendering(factory(wanted.source, render_mode=mode), mode, wanted.name)
    makes = chain([drawing], repeat(plain))
    return lambda: next(makes)()
