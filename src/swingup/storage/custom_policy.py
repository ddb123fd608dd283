"""The part of a policy file that holds a network of the user's own: its arrays, its maker, what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.core.custom_networks import CustomNetwork, Makers, made
from swingup.errors import InputError
from swingup.storage import trusted_modules
from swingup.storage.named_objects import load_networks

if TYPE_CHECKING:
    from swingup.types import Spec

# How dictionaries, lists and tuples are written in the plan of a pytree.
KINDS: dict[str, Any] = {"dict": dict, "list": list, "tuple": tuple}


def tree_plan(tree: Any, arrays: list[np.ndarray]) -> Any:
    """The form of a pytree as JSON, its arrays appended to `arrays`; ValueError for another kind of node."""
    if isinstance(tree, np.ndarray):
        arrays.append(tree)
        return len(arrays) - 1
    kind = next((name for name, kind in KINDS.items() if type(tree) is kind), None)
    if kind is None:
        raise ValueError(type(tree).__name__)
    if kind == "dict":
        return {kind: {name: tree_plan(tree[name], arrays) for name in sorted(tree)}}
    return {kind: [tree_plan(one, arrays) for one in tree]}


def tree_of(plan: Any, arrays: list[np.ndarray]) -> Any:
    """The pytree whose form `tree_plan` wrote."""
    if type(plan) is int:
        return arrays[plan]
    ((kind, inner),) = plan.items()
    if kind == "dict":
        return {name: tree_of(one, arrays) for name, one in inner.items()}
    return KINDS[kind](tree_of(one, arrays) for one in inner)


def describe(actor: CustomNetwork, params: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a policy file says of such an actor, and its arrays by name."""
    arrays: list[np.ndarray] = []
    form = None
    try:
        form = tree_plan(params, arrays)
    except ValueError:  # a node of a library's own: the network's init gives the form again
        import jax

        arrays = [np.asarray(x) for x in jax.tree.leaves(params)]
    needs = "numpy" if actor.in_numpy and form is not None else "jax"
    about = {"networks": actor.source, "outputs": actor.outputs, "needs": needs, "form": form}
    return about, {f"network.{i}": np.ascontiguousarray(x) for i, x in enumerate(arrays)}


def restore(
    about: dict[str, Any],
    tensors: dict[str, np.ndarray],
    spec: Spec,
    obs_size: int,
    makers: Makers | None,
    path: Path,
) -> tuple[CustomNetwork, Any]:
    """The actor and its parameters; InputError without the module, or the JAX, that they need."""
    source, needs = str(about["networks"]), str(about["needs"])
    if makers is None:
        for word in source.split(","):
            trusted_modules.check(word, path, "networks")
        makers = load_networks(source)
    network = made(makers[0], "actor", obs_size, spec.action_size)
    in_numpy = needs == "numpy"
    actor = CustomNetwork(network, obs_size, spec.action_size, None, in_numpy, source)
    count = sum(name.startswith("network.") for name in tensors)
    arrays = [tensors[f"network.{i}"] for i in range(count)]
    if not all(np.isfinite(x).all() and x.dtype.kind == "f" for x in arrays):
        raise ValueError("an array of its network is not of finite numbers")
    if about["form"] is not None:
        return actor, tree_of(about["form"], arrays)
    try:
        import jax
    except ImportError as error:
        raise InputError(f"{path}: acting with this policy's network needs JAX; pip install jax") from error
    form = jax.eval_shape(actor.init, jax.random.PRNGKey(0))
    if [x.shape for x in jax.tree.leaves(form)] != [x.shape for x in arrays]:
        raise ValueError("its network has other parameters now")
    return actor, jax.tree.unflatten(jax.tree.structure(form), arrays)
