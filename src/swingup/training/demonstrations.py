"""Transitions from elsewhere as rows for replay: a file of arrays, another run's replay, a Minari dataset."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np

from swingup.errors import InputError
from swingup.storage import checkpoint_reader
from swingup.storage.other_run import load_policy_of, rows_of_ring
from swingup.storage.run_folder import find_run
from swingup.types import Spec, Transition

NAMES = ("obs", "action", "reward", "terminated", "truncated")
# How far an action may lie outside its bounds, in parts of their distance: rounding, not another unit.
SLACK = 1e-3


def read_demonstrations(source: str, spec: Spec) -> np.ndarray:
    """rows[M, W] in order of time, the last of each trajectory marked, from FILE.npz, a run or minari:ID.

    Raises InputError, in one line, where the data is missing, damaged or not of this environment.
    """
    where = f"--demos {source}"
    if source.startswith("minari:"):
        return np.concatenate([pack(spec, where, **part) for part in episodes(source, spec, where)])
    path = Path(source)
    if path.is_dir():
        load_policy_of(path).check(spec)
        found = checkpoint_reader.load(find_run(path) / "ckpt")
        if found.ring is None:
            raise InputError(f"{where}: this run's checkpoint has no replay; choose another")
        return rows_of_ring(found.ring, found.added, spec.layout, found.ring[..., 0].size, where)
    if not path.is_file():
        raise InputError(f"{where}: no such file or folder; give an npz file, a run's folder or minari:ID")
    try:
        with path.open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name")
            arrays = {name: file[name] for name in (*NAMES, "next_obs") if name in file}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{where}: not an npz file of arrays ({error!s:.100}); see numpy.savez") from error
    if missing := [name for name in NAMES if name not in arrays]:
        raise InputError(f"{where}: it has no {missing[0]}; it needs {', '.join(NAMES)}")
    return pack(spec, where, **arrays)


def pack(
    spec: Spec,
    where: str,
    obs: Any,
    action: Any,
    reward: Any,
    terminated: Any,
    truncated: Any,
    next_obs: Any = None,
) -> np.ndarray:
    """Transitions in the environment's units as rows[M, W]; InputError, naming `where`, if a value is wrong.

    obs[T, *obs_shape], action[T, *action_shape], reward[T], terminated[T], truncated[T], in order of time.
    Without next_obs[T, *obs_shape] the successor of a step is the next one's observation; that of a truncated
    step and of the last one is unknown, so they are left out.
    """
    reward = numbers(reward, (), "reward", where)
    count = len(reward)
    obs = numbers(obs, spec.obs_shape, "obs", where, count)
    action = numbers(action, spec.action_shape, "action", where, count)
    ends = {"terminated": terminated, "truncated": truncated}
    flags = {name: numbers(flag, (), name, where, count) for name, flag in ends.items()}
    if odd := [name for name, flag in flags.items() if not np.isin(flag, (0, 1)).all()]:
        raise InputError(f"{where}: {odd[0]} has other values than true and false; make it an array of bools")
    within_bounds(spec, action, where)
    over, cut = flags["terminated"] == 1, flags["truncated"] == 1
    last, known = over | cut, np.ones(count, bool)
    if next_obs is None:
        next_obs = np.where(over[:, None], obs, np.roll(obs, -1, 0))  # not used where the episode terminated
        known = ~cut | over
        known[-1:] &= over[-1:]
        last[:-1] |= ~known[1:]
    else:
        next_obs = numbers(next_obs, spec.obs_shape, "next_obs", where, count)
    if not known.any():
        raise InputError(f"{where}: no transition has a known successor; give next_obs, too")
    discount, unit = 1 - over.astype(np.float32), spec.from_env(action.reshape(count, *spec.action_shape))
    rows = spec.layout.pack(Transition(obs, unit, reward, discount, next_obs, last.astype(np.float32)))[known]
    spec.layout.unpack(rows[-1]).last[...] = 1
    return rows


def numbers(
    value: Any, shape: tuple[int, ...], name: str, where: str, count: int | None = None
) -> np.ndarray:
    """An array of T values of a shape as finite float32 [T, size], or [T] for scalars; else InputError."""
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: {name} is not an array of numbers ({error!s:.80})") from error
    size = int(np.prod(shape))
    fits = array.ndim > 0 and len(array) and array.shape[1:] in (shape, (size,) if shape else ())
    if not fits or (count is not None and len(array) != count):
        expected = ", ".join(map(str, ("T" if count is None else count, *shape)))
        raise InputError(f"{where}: {name} has shape {array.shape}; this environment needs ({expected})")
    if not np.isfinite(array).all():
        at = np.argwhere(~np.isfinite(array))[0].tolist()
        raise InputError(f"{where}: {name}{at} is {array[tuple(at)]}; leave out or mend this trajectory")
    return array.reshape(len(array), size) if shape else array


def within_bounds(spec: Spec, action: np.ndarray, where: str) -> None:
    """InputError if an action[T, A], in the environment's units, lies outside its bounds."""
    low, high = np.asarray(spec.low), np.asarray(spec.high)
    outside = np.argwhere((action < low - SLACK * (high - low)) | (action > high + SLACK * (high - low)))
    if len(outside):
        t, a = outside[0]
        raise InputError(
            f"{where}: action[{t}, {a}] is {action[t, a]:.6g}, outside of [{low[a]:.6g}, {high[a]:.6g}]; "
            "give actions in the environment's units, clipped to its box"
        )


def episodes(source: str, spec: Spec, where: str) -> Iterator[Mapping[str, Any]]:
    """The episodes of a Minari dataset on this machine's disk, as the arrays that `pack` takes."""
    try:
        import minari
    except ImportError as error:
        fix = "pip install -c constraints.txt 'swingup[minari]'"
        raise InputError(f"{where}: the package minari is not installed here; {fix}") from error
    try:
        dataset = minari.load_dataset(source.removeprefix("minari:"))
        found = list(dataset.iterate_episodes())
    except Exception as error:  # it raises errors of HDF5, JSON and the file system alike
        why = f"{type(error).__name__}: {' '.join(str(error).split())!s:.100}"
        raise InputError(f"{where}: not a dataset on this disk ({why}); see minari list local") from error
    if not found:
        raise InputError(f"{where}: it has no episodes; choose another")
    for episode in found:
        parts = [reduce(getitem, path, episode.observations) for path in spec.parts or ((),)]
        obs = np.concatenate([np.reshape(part, (len(part), -1)) for part in parts], 1)
        yield {
            "obs": obs[:-1],
            "next_obs": obs[1:],
            "action": episode.actions,
            "reward": episode.rewards,
            "terminated": episode.terminations,
            "truncated": episode.truncations,
        }
