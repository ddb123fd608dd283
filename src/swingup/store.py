"""What a run leaves on disk: its folder, its policies (safetensors, no pickle), and the way back in."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from swingup.config import Config, apply, check
from swingup.errors import InputError
from swingup.moments import Moments
from swingup.nets import Actor
from swingup.policy import Policy
from swingup.types import Spec


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
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); is {folder} the folder of a run?") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds a {type(values).__name__}, not settings; is {folder} the folder of a run?")
    return check(apply(Config(), values, str(path)))


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
    return folder


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
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["spec"].items()}
        spec = Spec(**fields)
        actor = Actor(spec.obs_size, spec.action_size, tuple(about["hidden"]), layer_norm=bool(about["layer_norm"]))
        last = len(actor.hidden)
        names = [("w", "b", "scale") if actor.layer_norm and i < last else ("w", "b") for i in range(last + 1)]
        layers = [{k: tensors[f"{i}.{k}"] for k in keys} for i, keys in enumerate(names)]
        moments = Moments(*(tensors[f"moments.{k}"] for k in Moments._fields)) if "moments.mean" in tensors else None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a policy of swingup ({type(error).__name__}: {error})") from error
    return Policy(actor, tuple(layers), spec, moments)


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
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {k: np.array([float(r[k]) if r[k] else np.nan for r in rows]) for k in (rows[0] if rows else {})}
