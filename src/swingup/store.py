"""What a run leaves on disk: its folder, its policies (safetensors, no pickle), and the way back in."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from swingup.config.settings import Config, apply, check
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.core.running_statistics import Moments
from swingup.errors import InputError
from swingup.types import Spec

TEXT_BYTES = 1 << 20  # more than any settings or result


def new_folder(config: Config, run_dir: Path | None, label: str | None = None) -> Path:
    """Make the folder of a new run: `run_dir`, or runs/{env}__{preset}__{seed}__{time}. Refuses one that exists.

    label: stands in for the seed.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{config.env.replace(':', '.').replace('/', '.')}__{config.preset}__{label or config.seed}__{stamp}"
    path = run_dir or Path("runs") / name
    for attempt in [path] if run_dir else [path, *(path.with_name(f"{name}-{i}") for i in range(2, 100))]:
        try:
            attempt.mkdir(parents=True)
            return attempt
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(
                f"--run-dir {attempt}: cannot be made ({error.strerror}); choose a folder that you may write to"
            ) from error
    raise InputError(f"--run-dir {path}: exists already; choose another, or remove it")


def write(path: Path, text: str) -> None:
    """Write a whole file or none of it: a reader never sees half."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def write_config(folder: Path, config: Config, command: str, append: bool = False) -> None:
    """The resolved settings and the command that gave them; `append`: after those that gave the run so far."""
    path = folder / "command.txt"
    before = path.read_text() if append and path.exists() else ""
    write(folder / "config.json", json.dumps(dataclasses.asdict(config), indent=2) + "\n")
    write(path, before + command + "\n")


def read_config(folder: Path) -> Config:
    path = folder / "config.json"
    return check(apply(Config(), read_json(path), str(path)))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object; InputError where it is none, is larger than any of ours, or gives a name twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a name is given twice")
        return found

    try:
        with path.open("rb") as file:
            text = file.read(TEXT_BYTES + 1)
        if len(text) > TEXT_BYTES:
            raise ValueError(f"more than {TEXT_BYTES >> 20} MiB")
        values = json.loads(text, object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error!s:.200}); is {path.parent} the folder of a run?") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds a {type(values).__name__}, not settings; is {path.parent} the folder of a run?")
    return values


def find_run(run: str | Path) -> Path:
    """The folder of a run, or one line that says why it is not one."""
    folder = Path(run)
    if not folder.is_dir():
        near = sorted(Path("runs").glob("*"), key=lambda p: p.stat().st_mtime)[-1:] if Path("runs").is_dir() else []
        raise InputError(
            f"{folder}: no such run folder{f'; the newest is {near[0]}' if near else '; train one first: swingup train Pendulum-v1'}"
        )
    if (folder / "group.json").is_file():
        first = next(iter(sorted(folder.glob("seed-*"))), folder / "seed-0")
        raise InputError(f"{folder}: a group of runs, one for each seed; name one of them, for example {first}")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not the folder of a run, it has no config.json")
    if odd := stray(folder):
        raise InputError(f"{odd}: a link, pipe or device; a run's folder holds plain files only, put a copy there or remove it")
    return folder


def stray(folder: Path) -> str | None:
    """What in a folder is neither a file nor a folder: it may lead out of it, and a run that goes on would write there."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:  # a run that is going on removes what it has just shown
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if inside := stray(Path(entry.path)):
                    return inside
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                return entry.path
    return None


def save_policy(path: Path, policy: Policy) -> None:
    """Write a policy as one safetensors file: weights, and in its metadata all that acting needs."""
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{i}.{k}": np.ascontiguousarray(v) for i, layer in enumerate(policy.params) for k, v in layer.items()}
    tensors |= {f"moments.{k}": np.asarray(v) for k, v in (policy.moments._asdict() if policy.moments else {}).items()}
    actor = {"hidden": policy.actor.hidden, "layer_norm": policy.actor.layer_norm}
    about = {"format": 1, "spec": dataclasses.asdict(policy.spec), **actor}
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(save(tensors, {"swingup": json.dumps(about)}))
    os.replace(part, path)


def load_policy(path: Path) -> Policy:
    """Read what `save_policy` wrote; InputError where it is missing or not one of ours."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        best = path.with_name("best.safetensors").is_file()
        raise InputError(
            f"{path}: no such policy{'; there is one of the best evaluation: --best' if best else '; the run has not saved one yet'}"
        )
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})["swingup"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        spec = read_spec(about["spec"])
        hidden = whole_numbers(about["hidden"])
        if len(hidden) > len(tensors):
            raise ValueError(f"{len(hidden)} layers in {len(tensors)} arrays")
        actor = Actor(spec.obs_size, spec.action_size, hidden, layer_norm=bool(about["layer_norm"]))
        layers = [{k: array(tensors, f"{i}.{k}", s) for k, s in shapes.items()} for i, shapes in enumerate(actor_shapes(actor))]
        sizes = {"total": (), "mean": (spec.obs_size,), "m2": (spec.obs_size,)}
        moments = Moments(*(array(tensors, f"moments.{k}", s) for k, s in sizes.items())) if "moments.mean" in tensors else None
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: not a policy of swingup ({type(error).__name__}: {error!s:.200})") from error
    return Policy(actor, tuple(layers), spec, moments)


def actor_shapes(actor: Actor) -> list[dict[str, tuple[int, ...]]]:
    """The arrays of each layer of an actor, by name."""
    sizes = (actor.obs_size, *actor.hidden, actor.action_size)
    last = len(actor.hidden)
    return [
        {"w": (a, b), "b": (b,), **({"scale": (b,)} if actor.layer_norm and i < last else {})}
        for i, (a, b) in enumerate(pairwise(sizes))
    ]


def array(tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One array, if it is of that shape and holds finite numbers."""
    found = tensors[name]
    if found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
        raise ValueError(f"{name} is not of finite float32 numbers {shape}")
    return found


def whole_numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(v) is int and 0 < v < 2**31 for v in values):
        raise ValueError(f"{values!r:.60} is not a list of whole numbers")
    return tuple(values)


def read_spec(values: dict[str, Any]) -> Spec:
    """A Spec from its JSON, every field checked."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    spec = Spec(**fields)
    whole_numbers(values["obs_shape"]), whole_numbers(values["action_shape"])
    if not isinstance(spec.env, str) or spec.action_dtype not in ("float16", "float32", "float64"):
        raise ValueError("its environment's name or the dtype of its actions")
    for bound in (spec.low, spec.high):
        if len(bound) != spec.action_size or not all(type(x) is float and np.isfinite(x) for x in bound):
            raise ValueError("the bounds of its actions")
    return spec


def append_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Add rows to a CSV file, its header first if it is new."""
    if not rows:
        return
    import csv

    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


def cut_csv(path: Path, step: int) -> None:
    """Drop the rows beyond `step`, and a last line that was cut off while being written."""
    if not path.exists():
        return
    head, *rows = path.read_text().splitlines(keepends=True) or [""]
    at = head.rstrip("\r\n").split(",").index("step")
    whole = [row for row in rows if row.endswith("\n")]
    kept = [row for row in whole if int(row.split(",")[at]) <= step]
    if len(kept) < len(rows):
        write(path, head + "".join(kept))


def read_csv(path: Path) -> dict[str, np.ndarray]:
    """A CSV of numbers as columns; no rows, no columns."""
    import csv

    if not path.exists():
        return {}
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {k: np.array([float(r[k]) if r[k] else np.nan for r in rows]) for k in (rows[0] if rows else {})}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of numbers ({error!s:.200})") from error
