"""The public functions `swingup.train` and `swingup.resume`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import gymnasium

from swingup.cluster.place import whole_runs
from swingup.cluster.train import train_on_cluster
from swingup.config.arguments import plain
from swingup.config.keywords import Settings
from swingup.config.presets import base
from swingup.config.settings import Config, apply, named_objects
from swingup.config.signature import shows_settings
from swingup.envs.gym_ids import name_of
from swingup.envs.objects import Uncopyable, arguments_of, check_copy
from swingup.envs.recipe import Kept
from swingup.envs.registry import factory
from swingup.errors import InputError
from swingup.runs.run import Run
from swingup.runs.source import importable
from swingup.storage import trusted_modules
from swingup.storage.named_objects import name_makers
from swingup.storage.run_folder import find_run, is_group, read_config
from swingup.training.build import RunBuilder
from swingup.training.options import Options
from swingup.training.start import network_settings

if TYPE_CHECKING:
    from swingup.core.custom_networks import Makers
    from swingup.reports.callback import Callbackable
    from swingup.runs.group import Group


@overload
def train(
    env: Any,
    *,
    preset: str = ...,
    seeds: None = ...,
    run_dir: str | Path | None = ...,
    quiet: bool = ...,
    address: str | None = ...,
    record: bool = ...,
    render: bool = ...,
    callbacks: Callbackable = ...,
    networks: Makers | str | None = ...,
    warmup_policy: Callable[[Any], Any] | None = ...,
    **settings: Unpack[Settings],
) -> Run: ...
@overload
def train(
    env: Any,
    *,
    preset: str = ...,
    seeds: str | int | Sequence[int],
    seeds_mode: str = ...,
    run_dir: str | Path | None = ...,
    quiet: bool = ...,
    address: str | None = ...,
    networks: Makers | str | None = ...,
    **settings: Unpack[Settings],
) -> Group: ...
@shows_settings
def train(
    env: Any,
    *,
    preset: str = "auto",
    seeds: str | int | Sequence[int] | None = None,
    seeds_mode: str = "auto",
    run_dir: str | Path | None = None,
    quiet: bool = False,
    address: str | None = None,
    record: bool = False,
    render: bool = False,
    callbacks: Callbackable = None,
    networks: Makers | str | None = None,
    warmup_policy: Callable[[Any], Any] | None = None,
    **settings: Unpack[Settings],
) -> Run | Group:
    """Train a policy and return its run; with `seeds`, train one run per seed and return their group.

    env: a Gymnasium id, `module:Name`, an environment object, or a class or function that makes one.
    settings: fields of `Config` (`steps=`, `seed=`, `gamma=` ...); they override the preset. run_dir: a new
    folder for the run, by default one under runs/. address: with on="ray", the head of a cluster, host:port
    (docs/cluster.md). record: film training episodes; render: show them in a
    window. callbacks: a `Callback`, a function of an iteration's result (the run stops where it returns
    False), or a list of them; for several seeds name them instead: `callback="module:Name"`. networks: of
    your own, (make_actor, make_critic) or "module:function" (docs/networks.md). warmup_policy: for a single
    run only, a controller obs -> action of an environment in Python, which acts until learning starts
    (`loops.controllers`); it is not saved: give it to `resume`, too. seeds: a count, "0:8" or a list;
    seeds_mode: auto, process or vmap (`swingup train --help`).

    Raises InputError (a ValueError) for settings or environments that cannot be used, EnvFault if the
    environment breaks its contract, Diverged if a gradient is not finite, KeyboardInterrupt if the run was
    interrupted, and what a callback raises; the policy until then is kept.
    """
    if isinstance(env, str):
        trusted_modules.allow(env)
    makers = networks if networks is not None and not isinstance(networks, str) else None
    values: dict[str, Any] = dict(settings)
    values |= {} if networks is None else {"networks": name_makers(makers) if makers else networks}
    if "wrapper" in values:
        values["wrapper"] = wrapper_names(values["wrapper"])
    if seeds is not None:
        single_run_only(callbacks, warmup_policy)
    with named(env, values) as (name, source, values):
        builder, arguments = configured(name, preset, values, makers, seeds is not None)
        options = Options(Path(run_dir) if run_dir else None, quiet, record, render, address=address)
        command = f"swingup.train({name!r}, {arguments})"
        builder.warmup_policy = warmup_policy
        if seeds is None:
            return with_result(train_on_cluster(builder, source, options, command, callbacks=callbacks))
        if makers is not None:
            builder = RunBuilder(builder.config)  # each seed imports them, so they need names
        from swingup.cluster.pool import pool_on
        from swingup.multiseed.seeds import Seeds, numbers
        from swingup.multiseed.train import complete, train_seeds
        from swingup.runs.group import mode_of

        on = settings.get("on")
        wanted = Seeds(numbers(seeds), mode_of(seeds_mode), "threads" in settings, on)
        return complete(train_seeds(builder, source, wanted, options, command, pool_on(on, options)))


def resume(
    folder: str | Path,
    steps: int | None = None,
    env: Any = None,
    *,
    quiet: bool = False,
    address: str | None = None,
    require_exact: bool = False,
    weights_only: bool = False,
    callbacks: Callbackable = None,
    networks: Makers | None = None,
    warmup_policy: Callable[[Any], Any] | None = None,
) -> Run | Group:
    """Resume a run, or all unfinished runs of a group, from the newest checkpoint.

    steps: environment steps in all, by default the run's own setting. env: the environment, if the run was
    trained on an object or a function. address: as in `train`. weights_only: if the saved replay is damaged,
    use its weights, a new replay and new episodes. callbacks: as in `train`; their `restore` gets what their
    `state` returned. networks, warmup_policy: those that were given to `train`, where it had any in Python.
    Raises InputError if the folder, its checkpoints or `steps` cannot be used, and with require_exact if the
    result could differ from an uninterrupted run's.
    """
    command = f"swingup.resume({str(folder)!r}, {steps})"
    if is_group(Path(folder)):
        single_run_only(callbacks)
        from swingup.cluster.pool import pool_of_group
        from swingup.multiseed.train import complete, resume_seeds

        options = Options(None, quiet, require_exact=require_exact, address=address)
        pool = pool_of_group(Path(folder), options)
        return complete(resume_seeds(Path(folder), steps, env, options, command, pool))
    old = find_run(folder)
    builder = RunBuilder(read_config(old), networks)
    options = Options(old, quiet, address=address, require_exact=require_exact, weights_only=weights_only)
    builder = builder if steps is None else builder.longer(steps)
    builder.warmup_policy = warmup_policy
    run = train_on_cluster(
        builder,
        env or Run(old).env,
        options,
        command,
        old,
        callbacks=callbacks,
    )
    return with_result(run)


def configured(
    name: str, preset: str, values: dict[str, Any], makers: Makers | None, several: bool
) -> tuple[RunBuilder, str]:
    """The builder of a run with these settings, and how the settings are written in its command.

    several: whether there is a run for each of several seeds.
    """
    given = {"preset": preset, "env_preset": "auto", **values}
    values = {k: v for k, v in values.items() if k != "env_preset"}
    kept = (values.get("from_keep"), values.get("keep"))
    taken = network_settings(values.get("from_run"), "weights" in kept)
    begin = base(name, preset, env_preset=given["env_preset"])
    config = apply(begin, {"env": name, **taken, **values}, "train")
    builder = RunBuilder(whole_runs(config, "seeds=") if several else config, makers)
    own = apply(Config(), values, "train")  # not what --from has named
    for path in (*own.wrapper, *(word for _, word in named_objects(own))):
        trusted_modules.allow(path)
    return builder, ", ".join(f"{k}={v!r}" for k, v in given.items())


def single_run_only(callbacks: Any, warmup_policy: Any = None) -> None:
    """InputError if Python objects are given for several runs, which cannot share them."""
    if warmup_policy is not None:
        raise InputError(
            "warmup_policy: for a single run only; leave out seeds=, or train one seed at a time"
        )
    if callbacks:
        raise InputError(
            "callbacks: these are for a single run; for several seeds name a class or a function that each "
            "run takes for itself: callback='module:Name'"
        )


def with_result(run: Run) -> Run:
    """A finished run; KeyboardInterrupt if it was interrupted."""
    if not run.result:
        raise KeyboardInterrupt(f"training stopped; go on with swingup.resume({str(run.folder)!r})")
    return run


@contextmanager
def named(env: Any, settings: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The name of an environment, what makes it, and the settings, which say what they can of an object.

    An environment that was made to learn its name is the first one that is used, or is closed.
    """
    kwargs = settings.get("env_kwargs")
    if isinstance(env, str):
        yield env, env, settings
    elif isinstance(env, gymnasium.Env):
        own = arguments_of(env)
        if kwargs and own is None:
            what = "an object has its arguments already; give a class or a function, or an id"
            raise InputError(f"environment {name_of(env)}: env_kwargs={kwargs!r}: {what}")
        if kwargs:
            yield name_of(env), name_of(env), {**settings, "env_kwargs": {**(own or {}), **kwargs}}
            return
        say = own and kept(own) and copyable(env)  # else its settings would promise what they do not hold
        yield name_of(env), env, {**settings, **({"env_kwargs": own} if say else {})}
    elif callable(env):
        first = Kept(env, kwargs)
        try:
            yield first.name, first, settings
        finally:
            first.close()
    else:
        factory(env)  # refuses it


def copyable(env: gymnasium.Env) -> bool:
    """Whether a copy made from an object's spec is the same environment."""
    with suppress(Uncopyable):
        check_copy(env)
        return True
    return False


def kept(arguments: dict[str, Any]) -> bool:
    """Whether arguments can be kept with a run."""
    with suppress(ValueError):
        plain(arguments, "")
        return True
    return False


def wrapper_names(wrappers: Any) -> list[str]:
    """Wrappers as `module:Name`; InputError for a class or function that cannot be imported."""
    names = []
    for wrapper in wrappers if isinstance(wrappers, (list, tuple)) else [wrappers]:
        name = wrapper if isinstance(wrapper, str) else importable(wrapper)
        if not name:
            raise InputError(
                f"train: wrapper={wrapper!r}: it cannot be imported from a module, so no other process could "
                "make the environment again; let a function make it: lambda: Wrapper(gymnasium.make(id))"
            )
        names.append(name)
    return names
