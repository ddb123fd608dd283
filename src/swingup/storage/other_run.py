"""What a run takes from another one's folder or from a saved model: its policy, the rows of its replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swingup.core.policy import Policy
from swingup.errors import InputError
from swingup.storage.policy_file import load_policy
from swingup.storage.run_folder import find_run
from swingup.types import Layout


def load_policy_of(path: Path) -> Policy:
    """The policy of a saved model, or the last one of a run's folder."""
    if path.is_file():
        return load_policy(path)
    return load_policy(find_run(path) / "policy" / "last.safetensors")


def rows_of_ring(ring: np.ndarray, added: int, layout: Layout, capacity: int, source: str) -> np.ndarray:
    """The newest rows[M, W] of another run's replay ring[C, N, W], at most `capacity`, in order of time.

    The rows of an environment follow each other; the last of them is marked as an episode's last.
    """
    c, n, width = ring.shape
    if width != layout.width or ring.dtype != np.float32 or not added:
        raise InputError(
            f"{source}: its replay has rows of {width} numbers and {added} steps, "
            f"this run's rows have {layout.width}; choose a run on such an environment"
        )
    held = min(added, c, max(capacity // n, 1))
    rows = ring[(added - held + np.arange(held)) % c]
    if not np.isfinite(rows).all():
        raise InputError(f"{source}: its replay is not finite; choose another run")
    layout.unpack(rows[-1]).last[:] = 1
    return np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(-1, width)
