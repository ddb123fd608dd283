"""The environments of a run: one context manager makes, checks and closes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, NamedTuple

import gymnasium

from swingup import runtime
from swingup.envs.api import VectorEnv
from swingup.envs.closing import close_all
from swingup.envs.goals import Goals, goals_of_gym, goals_of_jax
from swingup.envs.gym_env import GymEnv
from swingup.envs.objects import Uncopyable, check_copy
from swingup.envs.recipe import Recipe, make_eval_envs
from swingup.envs.registry import find, in_jax
from swingup.envs.remarks import Remark, ignore
from swingup.envs.rendering import need_display, rendering
from swingup.errors import InputError
from swingup.types import Spec


class Environments(NamedTuple):
    """What a run trains on (a `VectorEnv`, or a `JaxEnv` in the fused loop), and what it evaluates on.

    evaluation: None if the run does not evaluate; shared: whether it is the one that the run trains on;
    goals: what hindsight needs of them, if it is wanted.
    """

    training: Any
    evaluation: VectorEnv | None
    shared: bool = False
    goals: Goals | None = None

    @property
    def spec(self) -> Spec:
        """The spaces of the environments."""
        return self.training.spec if self.evaluation is None else self.evaluation.spec

    @property
    def stepped(self) -> VectorEnv:
        """Environments to try before the run."""
        return self.training if self.evaluation is None else self.evaluation


@dataclass(frozen=True)
class EnvironmentRequest:
    """The environments that a run needs.

    recipe, eval_recipe: how those to train and to evaluate on are made; name: their name in errors; n:
    environments to train on; eval_env: evaluate on copies, on the same one, or not at all (none); copies:
    environments to evaluate on side by side; limit: steps after which an episode is truncated; workers:
    processes that step them (None: this one); devices: how many share them; threads, exact: see
    `runtime.prepare`; record, render: whether the first one draws; elsewhere: whether others make those to
    train on; hindsight: whether goals are relabelled; remark, pause: as in `GymEnv`.
    """

    recipe: Recipe
    eval_recipe: Recipe
    name: str
    n: int
    eval_env: str
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
    remark: Remark = ignore
    pause: Callable[[], None] = lambda: None


@contextmanager
def open_environments(wanted: EnvironmentRequest) -> Iterator[Environments]:
    """Make the environments of a run, and close them at the end; what fails there is one warning."""
    opened: list[VectorEnv] = []
    try:
        if wanted.elsewhere:
            refuse_here(wanted)
            opened.append(evaluated(wanted))
            yield Environments(None, opened[-1])
            return
        if in_jax(wanted.name):
            training: Any = in_compiled_loop(wanted)
            opened.append(evaluated(wanted))  # computed, so that more of them are no burden
            evaluation = opened[-1] if wanted.eval_env != "none" else None
            goals = goals_of(wanted, training, opened) if wanted.hindsight else None
            yield Environments(training, evaluation, goals=goals)
            return
        wanted = with_object(wanted)
        training = in_this_process(wanted) if wanted.workers is None else in_workers(wanted, wanted.n)
        opened.append(training)
        if wanted.eval_env == "copies":
            opened.append(copies(wanted))
            if isinstance(training, GymEnv):
                refuse_one_object(wanted, training, opened[-1])
        evaluation = None if wanted.eval_env == "none" else opened[-1]
        goals = goals_of(wanted, training, opened) if wanted.hindsight else None
        yield Environments(training, evaluation, wanted.eval_env == "same", goals)
    finally:
        close_all(*opened)


def goals_of(wanted: EnvironmentRequest, training: Any, opened: list[VectorEnv]) -> Goals:
    """What hindsight needs; it asks an environment of its own, which is added to `opened`."""
    if in_jax(wanted.name):
        return goals_of_jax(training, wanted.limit)
    judge = GymEnv(wanted.recipe.maker(), 1, wanted.name, wanted.limit)
    opened.append(judge)
    return goals_of_gym(judge)


def with_object(wanted: EnvironmentRequest) -> EnvironmentRequest:
    """The same request; of an object that cannot be copied, to evaluate on the one that is trained on."""
    env = wanted.recipe.source
    if not isinstance(env, gymnasium.Env):
        return wanted
    try:
        check_copy(env)
        return wanted
    except Uncopyable as error:
        if wanted.n > 1 or wanted.workers is not None:
            raise
        if wanted.eval_env == "none":
            return wanted
        what = "evaluations use this object, between episodes of training"
        wanted.remark("shared", f"{str(error).partition(': ')[2]}; {what}")
        return replace(wanted, eval_env="same")


def evaluated(wanted: EnvironmentRequest) -> VectorEnv:
    """The copies to evaluate on: in this process, or in worker processes as those to train on."""
    if wanted.workers is None:
        return make_eval_envs(
            wanted.eval_recipe, wanted.copies, wanted.name, wanted.limit, wanted.remark, wanted.pause
        )
    return in_workers(wanted, wanted.copies, "evaluation: ")


def copies(wanted: EnvironmentRequest) -> VectorEnv:
    """`evaluated`, where one has been made to train on; InputError, with the way out, if more are refused."""
    try:
        return evaluated(wanted)
    except InputError as error:
        raise InputError(
            f"{error}; one to train on was made, copies to evaluate on were not: if only one may exist, "
            "--eval-env same evaluates on it between episodes, --eval-env none not at all"
        ) from error


def in_this_process(wanted: EnvironmentRequest) -> GymEnv:
    """Gymnasium environments, stepped one after the other."""
    refuse_devices(wanted)
    return GymEnv(maker(wanted), wanted.n, wanted.name, wanted.limit, wanted.remark, wanted.pause)


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
    recipe = wanted.eval_recipe if role else wanted.recipe
    return SubprocessVectorEnv(
        recipe.maker(),
        n,
        workers,
        wanted.name,
        wanted.limit,
        report=say,
        remark=wanted.remark,
        pause=wanted.pause,
    )


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
    if wanted.eval_env == "same":
        raise InputError(
            f"--eval-env same: {wanted.name} is computed, and copies cost nothing; leave --eval-env out"
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


def refuse_one_object(wanted: EnvironmentRequest, training: GymEnv, evaluation: VectorEnv) -> None:
    """InputError if a function returns one object each time: training and evaluation would share it."""
    if isinstance(evaluation, GymEnv) and evaluation.envs[0].unwrapped is training.envs[0].unwrapped:
        what = "the function returns the same object each time; let it make a new one, or use --eval-env same"
        raise InputError(f"environment {wanted.name}: {what}")


def maker(wanted: EnvironmentRequest) -> Callable[[], gymnasium.Env]:
    """A function that makes the environments one after the other; the first one draws if it should."""
    recipe = wanted.recipe
    if wanted.render and wanted.record:
        raise InputError(
            "--render --record: an environment draws on a window or into a file, not both; choose one"
        )
    if wanted.render:
        need_display("--render")
    mode = "human" if wanted.render else "rgb_array" if wanted.record else None
    given = isinstance(recipe.source, gymnasium.Env)
    if given and mode in (None, recipe.source.render_mode):
        first = recipe.given()
    elif mode is None:
        return recipe.maker()
    else:
        first = recipe.maker(render_mode=mode)
    if mode is not None:
        drawn = first
        first = lambda: rendering(drawn, mode, wanted.name)
    makes = chain([first], repeat(recipe.maker()) if wanted.n > 1 else ())
    return lambda: next(makes)()
