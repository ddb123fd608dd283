"""What a run was made with and on, for its report: versions, machine, git revision."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from swingup import __version__, runtime


def provenance(threads: int) -> dict[str, Any]:
    """Versions, machine and the git revision of the current folder, as JSON values."""
    return {"swingup": __version__, **runtime.profile(threads), "git_revision": git_revision(Path())}


def git_revision(folder: Path) -> str:
    """The commit that is checked out in a folder, with `-dirty` if files were changed; empty if unknown."""
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
