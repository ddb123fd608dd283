"""The public functions `swingup.train` and `swingup.resume`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from swingup.cluster.train import train_on_cluster
from swingup.config.keywords import Settings
from swingup.config.presets import base
from swingup.config.settings import Config, apply, named_objects
from swingup.config.signature import shows_settings
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.errors import EnvFault, InputError
from swingup.runs.run import Run
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
    record: bool = False,
    render: bool = False,
    callbacks: Callbackable = None,
    networks: Makers | str | None = None,
    warmup_policy: Callable[[Any], Any] | None = None,
    **settings: Unpack[Settings],
) -> Run | Group:
    """Train a policy and return its run; with `seeds`, train one run per seed and return their group.

    env: a Gymnasium id, `module:Id`, an environment that was made from an id, or a function that makes one.
    settings: fields of `Config` (`steps=`, `seed=`, `gamma=` ...); they override the preset. run_dir: a new
    folder for the run, by default one under runs/. record: film training episodes; render: show them in a
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
    name = env if isinstance(env, str) else name_of_source(env)
    makers = networks if networks is not None and not isinstance(networks, str) else None
    values: dict[str, Any] = dict(settings)
    values |= {} if networks is None else {"networks": name_makers(makers) if makers else networks}
    other = values.pop("env_preset", "auto")
    kept = (values.get("from_keep"), values.get("keep"))
    taken = network_settings(values.get("from_run"), "weights" in kept)
    begin = base(name, preset, env_preset=other)
    builder = RunBuilder(apply(begin, {"env": name, **taken, **values}, "train"), makers)
    for _, word in named_objects(apply(Config(), values, "train")):  # not what --from has named
        trusted_modules.allow(word)
    given = {"preset": preset, "env_preset": other, **values}
    arguments = ", ".join(f"{k}={v!r}" for k, v in given.items())
    options = Options(Path(run_dir) if run_dir else None, quiet, record, render)
    command = f"swingup.train({name!r}, {arguments})"
    builder.warmup_policy = warmup_policy
    if seeds is None:
        return with_result(train_on_cluster(builder, env, options, command, callbacks=callbacks))
    if warmup_policy is not None:
        raise InputError(
            "warmup_policy: for a single run only; leave out seeds=, or train one seed at a time"
        )
    single_run_only(callbacks)
    if makers is not None:
        builder = RunBuilder(builder.config)  # each seed imports them, so they need names
    from swingup.multiseed.seeds import Seeds, numbers
    from swingup.multiseed.train import complete, train_seeds
    from swingup.runs.group import mode_of

    wanted = Seeds(numbers(seeds), mode_of(seeds_mode), "threads" in settings)
    return complete(train_seeds(builder, env, wanted, options, command))


def resume(
    folder: str | Path,
    steps: int | None = None,
    env: Any = None,
    *,
    quiet: bool = False,
    require_exact: bool = False,
    weights_only: bool = False,
    callbacks: Callbackable = None,
    networks: Makers | None = None,
    warmup_policy: Callable[[Any], Any] | None = None,
) -> Run | Group:
    """Resume a run, or all unfinished runs of a group, from the newest checkpoint.

    steps: environment steps in all, by default the run's own setting. env: the environment, if the run was
    trained on an object or a function. weights_only: if the saved replay is damaged, use its weights, a new
    replay and new episodes. callbacks: as in `train`; their `restore` gets what their `state` returned.
    networks, warmup_policy: those that were given to `train`, where it had any in Python. Raises InputError
    if the folder, its checkpoints or `steps` cannot be used, and with require_exact if the result could
    differ from an uninterrupted run's.
    """
    command = f"swingup.resume({str(folder)!r}, {steps})"
    if is_group(Path(folder)):
        single_run_only(callbacks)
        from swingup.multiseed.train import complete, resume_seeds

        options = Options(None, quiet, require_exact=require_exact)
        return complete(resume_seeds(Path(folder), steps, env, options, command))
    old = find_run(folder)
    builder = RunBuilder(read_config(old), networks)
    options = Options(old, quiet, require_exact=require_exact, weights_only=weights_only)
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


def single_run_only(callbacks: Any) -> None:
    """InputError if callbacks are given for several runs: an object cannot tell the runs apart."""
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


def name_of_source(env: Any) -> str:
    """The name of an environment that is given as an object or a function."""
    made = GymEnv(factory(env))
    with suppress(EnvFault):  # the run says it, too
        made.close()
    return made.spec.env
