"""How environments are made: from what, with which arguments, in which wrappers, within which bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from swingup.envs.api import VectorEnv
from swingup.envs.closing import PATIENCE, failure
from swingup.envs.gym_env import GymEnv, made
from swingup.envs.gym_ids import import_module, name_of
from swingup.envs.objects import Uncopyable
from swingup.envs.registry import calling, factory, find, in_jax
from swingup.envs.remarks import Remark, ignore
from swingup.envs.spaces import unbounded
from swingup.errors import InputError, nearest


@dataclass(frozen=True, eq=False)
class Recipe:
    """How the environments of a run are made.

    source: an id, `module:Name`, a Gymnasium object or a function; kwargs: arguments of what makes it;
    wrappers: `module:function` each, the last is the outermost; low, high: bounds of actions, one number or
    one per dimension.
    """

    source: Any
    kwargs: dict[str, Any] | None = None
    wrappers: tuple[str, ...] = ()
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    @property
    def changes(self) -> bool:
        """Whether anything is put around what the source makes."""
        return bool(self.wrappers) or self.low is not None or self.high is not None

    def maker(self, **options: Any) -> Callable[[], gymnasium.Env]:
        """A function that makes fresh environments; options (render_mode) go to what can take them."""
        if isinstance(self.source, str) and in_jax(self.source) and (self.changes or self.kwargs):
            raise InputError(
                f"environment {self.source}: it is compiled and takes neither --env-kwargs, --wrapper, "
                "--action-low nor --action-high; leave them out, or train Gymnasium's environment"
            )
        make = factory(self.source, self.kwargs, **options)
        return partial(self.finished, make) if self.changes else make

    def given(self) -> Callable[[], gymnasium.Env]:
        """A function that returns the source itself, an object, which it leaves open."""
        make = lambda: Lent(self.source)
        return partial(self.finished, make) if self.changes else make

    def finished(self, make: Callable[[], gymnasium.Env]) -> gymnasium.Env:
        """An environment in its wrappers, within its bounds."""
        env = made(make, "of your function")
        try:
            for path in self.wrappers:
                env = wrap(env, path)
            if self.low is not None or self.high is not None:
                env = Bounded(env, self.low, self.high)
        except BaseException:
            failure(env.close, PATIENCE)
            raise
        return env


class Lent(gymnasium.Wrapper):
    """An object of the user's, who closes it when it is no longer needed."""

    def close(self) -> None:
        """Leave it open."""


class Bounded(gymnasium.Wrapper):
    """An environment whose actions lie within low and high: one number each, or one per dimension.

    One number is for the actions without a finite bound; where all have one, for all of them.
    """

    def __init__(
        self, env: gymnasium.Env, low: tuple[float, ...] | None, high: tuple[float, ...] | None
    ) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, gymnasium.spaces.Box) or np.dtype(space.dtype).kind != "f":
            return  # refused with the reason when its spaces are read
        ends = []
        for flag, numbers, bound in (("--action-low", low, space.low), ("--action-high", high, space.high)):
            ends.append(chosen(name_of(env), flag, numbers, bound.reshape(-1), unbounded(space)))
        lows, highs = (np.array(end, space.dtype).reshape(space.shape) for end in ends)
        if (lows < space.low).any() or (highs > space.high).any():
            raise InputError(
                f"environment {name_of(env)}: --action-low and --action-high leave its own bounds, "
                f"{space.low.min()} to {space.high.max()}; stay within them"
            )
        if not (lows < highs).all():
            raise InputError(f"environment {name_of(env)}: --action-low is not below --action-high")
        self.action_space = gymnasium.spaces.Box(lows, highs, dtype=lows.dtype.type)


def chosen(
    name: str, flag: str, numbers: tuple[float, ...] | None, own: np.ndarray, without: np.ndarray
) -> np.ndarray:
    """One end of the range of each action; own: the environment's, without[A]: those that have no bound."""
    if numbers is None:
        return own
    if len(numbers) not in (1, len(own)):
        raise InputError(
            f"environment {name}: {flag} has {len(numbers)} numbers for {len(own)} actions; "
            "give one, or one each"
        )
    everywhere = len(numbers) > 1 or not without.any()
    return np.where(without | everywhere, np.array(numbers), own)


def wrap(env: gymnasium.Env, path: str) -> gymnasium.Env:
    """An environment in the wrapper that a module holds; InputError with the reason if there is none."""
    module, _, name = path.partition(":")
    where = f"--wrapper {path}"
    found = import_module(module, where)
    maker = getattr(found, name, None)
    if not callable(maker):
        raise InputError(f"{where}: {module} has no such function or class{nearest(name, vars(found))}")
    try:
        wrapped = maker(env)
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"{where}: it raised {why}; it is called with the environment alone") from error
    if not isinstance(wrapped, gymnasium.Env):
        what = f"it returned a {type(wrapped).__name__}"
        raise InputError(f"{where}: {what}; let it return the wrapped environment")
    return wrapped


class Kept:
    """A function that makes environments, and the one that it has made already, which it hands out first."""

    def __init__(self, make: Callable[..., gymnasium.Env], kwargs: dict[str, Any] | None):
        self.__wrapped__, self.kwargs = make, kwargs or {}
        self.first: gymnasium.Env | None = made(calling(make, self.kwargs, {}), "of your function")
        self.name = name_of(self.first)

    def __call__(self, **kwargs: Any) -> gymnasium.Env:
        first, self.first = self.first, None
        if first is not None and kwargs == self.kwargs:
            return first
        self.close(first)
        return self.__wrapped__(**kwargs)

    def close(self, env: gymnasium.Env | None = None) -> None:
        """Close the environment that nobody has asked for."""
        env, self.first = env or self.first, None
        if env is not None:
            failure(env.close, PATIENCE)

    def __reduce__(self) -> Any:
        return same, (self.__wrapped__,)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


def same(make: Any) -> Any:
    """What is given: in another process nothing has been made yet."""
    return make


def make_eval_envs(
    recipe: Recipe,
    n: int,
    name: str | None = None,
    limit: int | None = None,
    remark: Remark = ignore,
    pause: Callable[[], None] = lambda: None,
) -> VectorEnv:
    """Create n environments for evaluation; those written in JAX run as one compiled program."""
    if isinstance(recipe.source, str) and in_jax(recipe.source):
        from swingup.envs.jax_env import JaxVectorEnv

        recipe.maker()  # refuses what is not for these
        return JaxVectorEnv(find(recipe.source), n, name, limit)
    return GymEnv(recipe.maker(), n, name, limit, remark, pause)


def for_evaluation(recipe: Recipe, n: int, limit: int | None) -> VectorEnv:
    """Environments to evaluate a finished run on: n copies, or the object itself if it cannot be copied."""
    try:
        return make_eval_envs(recipe, n, None, limit)
    except Uncopyable:
        return GymEnv(recipe.given(), 1, None, limit)
