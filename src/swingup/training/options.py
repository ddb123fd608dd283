"""How a run shows itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How a run shows itself; nothing here changes a byte of what it learns."""

    run_dir: Path | None = None
    """A new folder for the run; by default one under runs/."""
    quiet: bool = False
    """No progress: only the closing line."""
    record: bool = False
    """Film training episodes 0, 1, 8, 27, ..., 1000, 2000, ... of the first environment into the run's videos/."""
    render: bool = False
    """Show the first environment in a window while it trains."""
    require_exact: bool = False
    """When going on with a run: stop with an error where the result could differ by a bit from an uninterrupted one. On a GPU:
    only operations that give the same bits each time."""
    weights_only: bool = False
    """When going on with a run whose saved replay is damaged: with its weights, a new replay and new episodes."""
