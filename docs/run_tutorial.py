"""Run the tutorial from top to bottom and keep its outputs: `python docs/run_tutorial.py` (minutes).

The notebook is committed as this writes it, so that readers see its results without running it. Its metadata
hold a digest of the code that ran, by which a test notices that a cell was changed afterwards.
"""

from __future__ import annotations

import hashlib
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent / "tutorial.ipynb"


def digest(notebook: Any) -> str:
    """SHA-256 of the code of all cells, in order; a notebook as read from JSON or by nbformat."""
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256("\n\n".join(code).encode()).hexdigest()


def executed(notebook: Any, folder: str | Path) -> Any:
    """A copy of the notebook with the outputs of a fresh kernel that starts in `folder`."""
    from nbclient import NotebookClient

    done = deepcopy(notebook)
    NotebookClient(
        done,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    done.metadata = {**notebook.metadata, "executed": digest(notebook)}  # without the kernel's version
    return done


def main() -> None:
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        done = executed(nbformat.read(NOTEBOOK, 4), folder)
    nbformat.write(nbformat.from_dict(done), NOTEBOOK)
    print(f"{NOTEBOOK.name}: {NOTEBOOK.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
