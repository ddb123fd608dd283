"""The environments of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any, NamedTuple

import gymnasium

from swingup import runtime
from swingup.config.settings import Config
from swingup.envs.api import HostEnv
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import LOCKSTEP, factory, find, in_jax, lockstep
from swingup.envs.rendering import need_display, rendering
from swingup.errors import InputError
from swingup.training.options import Options


class Envs(NamedTuple):
    """The environments of a run: those it learns from (a JaxEnv where the loop is fused), and copies for evaluation, and which of
    them must be closed."""

    training: Any
    testing: HostEnv
    hosts: tuple[HostEnv, ...]


def make_envs(config: Config, env: Any, options: Options) -> Envs:
    """The environments of a run."""
    return fused(config, options) if in_jax(config.env) else on_host(config, env, options)


def on_host(config: Config, env: Any, options: Options) -> Envs:
    """Gymnasium environments, in this process or in workers."""
    if config.devices > 1:
        raise InputError(
            f"--devices {config.devices}: {config.env} runs in Python; only environments in JAX are shared (native/...)"
        )
    if config.workers is not None:
        return in_workers(config, env, options)
    make = makers(config, env, options)
    training = GymEnv(make, config.envs, config.env, config.episode_steps)
    if not isinstance(env, str) and make().unwrapped is training.envs[0].unwrapped:
        raise InputError(f"environment {config.env}: the function returns the same object each time; let it make a new one")
    testing = lockstep(env, copies_of(config), config.env, config.episode_steps)
    return Envs(training, testing, (training, testing))


def in_workers(config: Config, env: Any, options: Options) -> Envs:
    """Gymnasium environments in processes of their own."""
    if options.record or options.render:
        raise InputError(
            "--workers: environments in other processes are not drawn; leave --workers out, or film afterwards: swingup video RUN"
        )
    from swingup.envs.subprocess_env import WorkerEnv

    say = (lambda line: None) if options.quiet else (lambda line: print(f"swingup: {line}", file=sys.stderr))
    workers = min(config.workers or 1, config.envs)
    training = WorkerEnv(factory(env), config.envs, workers, config.env, config.episode_steps, report=say)
    testing = lockstep(env, copies_of(config), config.env, config.episode_steps)
    return Envs(training, testing, (training, testing))


def fused(config: Config, options: Options) -> Envs:
    """An environment written in JAX, for the fused loop."""
    if options.record or options.render:
        flag = "--record" if options.record else "--render"
        raise InputError(
            f"{flag}: {config.env} is compiled together with the training and draws nothing; film it afterwards: swingup video RUN"
        )
    if config.workers is not None:
        raise InputError(f"--workers {config.workers}: {config.env} is compiled together with the training; leave --workers out")
    runtime.prepare(config.threads, options.require_exact)
    if config.devices > 1:
        from swingup.core.sharding import split

        split(config.devices)  # now, before there is a folder
    testing = lockstep(config.env, copies_of(config), config.env, config.episode_steps)
    return Envs(find(config.env), testing, (testing,))


def copies_of(config: Config) -> int:
    return min(LOCKSTEP, max(config.eval_episodes, config.final_episodes))


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
