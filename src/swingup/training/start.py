"""What a run begins with where it goes on from another one: its policy, its learner, its replay."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swingup.config.settings import CRITICS, FIELDS, NETWORKS
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.errors import InputError
from swingup.storage import checkpoint_reader
from swingup.storage.model_file import load_model
from swingup.storage.other_run import load_policy_of, rows_of_ring
from swingup.storage.run_folder import find_run, read_config
from swingup.types import Spec

if TYPE_CHECKING:
    from swingup.core.engine import Plan
    from swingup.loops.base import Snapshot, Start
    from swingup.loops.host import HostLoop

LEARNER = ".state.learner"  # what the names of a learner's arrays begin with in a snapshot
MOMENTS = re.compile(r"(\.\w+_opt)((?:\[\d+\])*)\.(count|mu|nu)(.*)")


def read_start(plan: Plan, spec: Spec, source: str | None, keep: str) -> Start:
    """What a run of this plan and environment takes from a run's folder or a model's file (None: nothing).

    keep: weights, learner or replay. Raises InputError where it does not fit the plan or the environment.
    """
    from swingup.loops.base import Start

    if source is None:
        return Start()
    path = Path(source)
    policy = load_policy_of(path)
    policy.check(spec)
    check_actor(plan, policy, source)
    if keep == "weights":
        return Start(fitting(plan, policy_arrays(policy), f"--from {source}", weights=True))
    if path.is_file():
        if keep == "replay":
            raise InputError(f"--from {source}: a saved model has no replay; name its run, or --keep learner")
        saved, ring, added = load_model(path).arrays, None, 0
        if not saved:
            raise InputError(f"--from {source}: it holds a policy alone; --keep weights goes on from that")
    else:
        found = checkpoint_reader.load(find_run(path) / "ckpt", replay=keep == "replay")
        saved, ring, added = found.tensors, found.ring, found.added
    learner = {k.removeprefix(LEARNER): v for k, v in saved.items() if k.startswith(LEARNER)}
    rows = None if ring is None else rows_of_ring(ring, added, spec.layout, plan.capacity, source)
    return Start(fitting(plan, learner, f"--from {source}"), rows)


def network_settings(source: Any, weights: bool = False) -> dict[str, Any]:
    """The settings of a run or a saved model that shape its networks; {} without a source.

    weights: whether the critics' settings are left out, because only the policy is taken over.
    """
    if source is None:
        return {}
    path = Path(source)
    if not path.is_file():
        return shaping(vars(read_config(find_run(path))), weights)
    model = load_model(path)
    actor = model.policy.actor
    policy: dict[str, Any] = {}
    if isinstance(actor, Actor):
        options = ("layer_norm", "activation", "residual")
        policy = {"actor_hidden": actor.hidden} | {name: getattr(actor, name) for name in options}
    return shaping(model.settings, weights) or policy | {"normalize": model.policy.obs_statistics is not None}


def shaping(settings: dict[str, Any], weights: bool) -> dict[str, Any]:
    """Those of some settings that shape what is taken over."""
    groups = (NETWORKS,) if weights else (NETWORKS, CRITICS)
    names = [name for name in settings if name in FIELDS and FIELDS[name].group in groups]
    return {name: settings[name] for name in names}


def check_actor(plan: Plan, policy: Policy, source: str) -> None:
    """InputError if a policy's actor computes something else than the plan's."""
    ours, theirs = plan.agent.actor, policy.actor
    if type(ours) is type(theirs) and dataclasses.is_dataclass(ours):
        for field in dataclasses.fields(ours):
            here, there = getattr(ours, field.name), getattr(theirs, field.name)
            if here != there and field.name != "weights":  # the initial ones, which are replaced
                raise InputError(
                    f"--from {source}: its actor has {field.name} {there}, this run's has {here}; "
                    "leave out the settings of networks, they come from there"
                )


def policy_arrays(policy: Policy) -> dict[str, np.ndarray]:
    """A policy's arrays, by their names in a learner."""
    from swingup.core.named_arrays import flatten_named

    found = {f".actor{name}": value for name, value in flatten_named(policy.params).items()}
    if policy.obs_statistics is not None:
        found |= {f".obs_statistics{k}": v for k, v in flatten_named(policy.obs_statistics).items()}
    return found


def fitting(plan: Plan, saved: dict[str, np.ndarray], where: str, weights: bool = False) -> dict[str, Any]:
    """A learner's saved arrays by their names in this plan's learner; InputError if one does not fit.

    The states of Adam keep their moments whatever is chained to it here; schedules of step sizes begin anew.
    weights: whether only the actor and the statistics of observations are taken; then the target is equal.
    """
    import jax

    from swingup.core import agent as algorithm

    shapes = jax.eval_shape(partial(algorithm.init, plan.agent), jax.random.PRNGKey(0))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    wanted = {jax.tree_util.keystr(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}
    here, there = canonical(wanted), canonical(saved)
    if weights:
        here = {c: name for c, name in here.items() if re.match(r"\.(actor|obs_statistics)\b", c)}
    for c in sorted(here.keys() | there.keys()):
        ours = wanted[here[c]] if c in here else None
        theirs = (saved[there[c]].shape, saved[there[c]].dtype) if c in there else None
        if ours != theirs:
            sizes = [x[0] if x else "none" for x in (theirs, ours)]
            raise InputError(
                f"{where}: {c} has shape {sizes[0]} there and {sizes[1]} in this run; "
                "leave out the settings of networks and critics, they come from there, or --keep weights"
            )
        if not np.isfinite(saved[there[c]]).all():
            raise InputError(f"{where}: {c} is not finite; choose a run that has not diverged")
    arrays = {name: saved[there[c]] for c, name in here.items()}
    if weights:
        targets = {name.replace(".actor", ".target_actor", 1): value for name, value in arrays.items()}
        arrays |= {name: value for name, value in targets.items() if name in wanted}
    return arrays


def canonical(names: Iterable[str]) -> dict[str, str]:
    """Names of a learner's arrays, by a form that does not depend on what is chained to an optimiser.

    Counts of schedules are left out.
    """
    found = {name: MOMENTS.fullmatch(name) for name in names}
    adams = {(m[1], m[2]) for m in found.values() if m and m[3] == "mu"}
    return {
        f"{m[1]}.{m[3]}{m[4]}" if m else name: name
        for name, m in found.items()
        if not m or (m[1], m[2]) in adams
    }


# The counters of a snapshot that a saved model keeps beside its learner.
COUNTERS = ("host.iteration", "host.episodes", "host.begun")


def learner_arrays(snapshot: Snapshot) -> dict[str, np.ndarray]:
    """The arrays of a host loop's snapshot that a saved model keeps: the learner and the counters."""
    kept = lambda name: name.startswith(LEARNER) or name in COUNTERS
    return {name: value for name, value in snapshot.tensors.items() if kept(name)}


def learner_snapshot(loop: HostLoop, saved: dict[str, np.ndarray], source: str) -> Snapshot:
    """A snapshot without replay, from what `learner_arrays` gave; InputError where it does not fit."""
    from swingup.core.named_arrays import flatten_named
    from swingup.loops.base import Snapshot

    now = flatten_named(loop.learner())
    learner = {k.removeprefix(LEARNER): v for k, v in saved.items() if k.startswith(LEARNER)}
    same = {
        k: v for k, v in learner.items() if k in now and (v.shape, v.dtype) == (now[k].shape, now[k].dtype)
    }
    arrays = now | fitting(loop.plan, learner, source) | same  # schedules too go on where they were
    try:
        counters = {name: saved[name] for name in COUNTERS}
        counters["host.begun"] = np.resize(saved["host.begun"].astype(np.int64), loop.plan.n)
        if not all(np.all((x >= 0) & (x < 2**31)) for x in counters.values()):
            raise ValueError("counters")
        int(counters["host.iteration"]), int(counters["host.episodes"])
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{source}: not what save writes ({error}); save the model again") from error
    return Snapshot({f"{LEARNER}{k}": v for k, v in arrays.items()} | counters, None, 0)


def demos_saved(tensors: dict[str, np.ndarray]) -> int:
    """How many demonstrations a checkpoint keeps beside replay."""
    return len(tensors.get(".state.demos.rows", ()))
