"""The public functions: train and resume."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.runs.run import Run
from swingup.storage import trusted_modules

if TYPE_CHECKING:
    from swingup.runs.group import Group
from swingup.training.options import Options
from swingup.training.session import run_training, settings_of


@overload
def train(env: Any, *, seeds: None = None, **settings: Any) -> Run: ...


@overload
def train(env: Any, *, seeds: str | int | Sequence[int], **settings: Any) -> Group: ...


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
    **settings: Any,
) -> Run | Group:
    """Train a policy and return its run; with `seeds` one for each of them, and return their group.

    env: a Gymnasium id, `module:Id`, an environment that was made from an id, or a function that makes one.
    settings: fields of `Config` (`steps=`, `seed=`, `gamma=` ...); they win over the preset. run_dir: a new folder for
    the run, else one under runs/. record: film training episodes; render: show them in a window. seeds: a count, "0:8" or a list;
    seeds_mode: auto, process or vmap (`swingup train --help`).

    Raises InputError (a ValueError) for settings or environments that cannot be used, EnvFault where the environment breaks
    its contract on the way, Diverged where a gradient stops being finite, KeyboardInterrupt where it was stopped; the
    policy until then is kept.
    """
    if isinstance(env, str):
        trusted_modules.remember(env)
    name = env if isinstance(env, str) else describe(factory(env))
    config = check(apply(base(name, preset), {"env": name, **settings}, "train"))
    arguments = ", ".join(f"{k}={v!r}" for k, v in {"preset": preset, **settings}.items())
    options = Options(Path(run_dir) if run_dir else None, quiet, record, render)
    command = f"swingup.train({name!r}, {arguments})"
    if seeds is None:
        return whole(run_training(config, env, options, command))
    from swingup.multiseed.seeds import Seeds, numbers
    from swingup.multiseed.train import complete, train_seeds
    from swingup.runs.group import mode_of

    wanted = Seeds(numbers(seeds), mode_of(seeds_mode), "threads" in settings)
    return complete(train_seeds(config, env, wanted, options, command))


def resume(
    folder: str | Path,
    steps: int | None = None,
    env: Any = None,
    *,
    quiet: bool = False,
    require_exact: bool = False,
    weights_only: bool = False,
) -> Run | Group:
    """Go on with a run, or with all unfinished runs of a group, from its newest checkpoint, to `steps` environment steps in all (by default those it was meant for).

    env: the environment, where the run was trained on an object or a function. Raises InputError where the folder, its
    checkpoints or `steps` cannot be used, and with require_exact where the result could differ from an uninterrupted run.
    weights_only: where the saved replay is damaged, go on with the weights, a new replay and new episodes.
    """
    from swingup.multiseed.train import complete, resume_seeds
    from swingup.runs.group import is_group

    if is_group(Path(folder)):
        command = f"swingup.resume({str(folder)!r}, {steps})"
        return complete(resume_seeds(Path(folder), steps, env, Options(None, quiet, require_exact=require_exact), command))
    old, config = settings_of(folder, steps)
    options = Options(old, quiet, require_exact=require_exact, weights_only=weights_only)
    return whole(run_training(config, env or Run(old).env, options, f"swingup.resume({str(folder)!r}, {steps})", old))


def whole(run: Run) -> Run:
    if not run.result:
        raise KeyboardInterrupt(f"training stopped; go on with swingup.resume({str(run.folder)!r})")
    return run


def describe(make: Any) -> str:
    with closing(GymEnv(make)) as env:
        return env.spec.env
