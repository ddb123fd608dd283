"""A policy for NumPy: its arrays and steps as .npz, or a Python file that holds them and acts."""

from __future__ import annotations

import base64
import io
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from swingup import __version__
from swingup.export.program import Program


def npz(program: Program) -> bytes:
    """The policy as .npz: arrays `I.NAME` of step I, and `program`, a JSON text that names the steps.

    `swingup.export.interpreter.load` acts with it and shows how; that file needs NumPy alone.
    """
    arrays: dict[str, Any] = {
        f"{i}.{k}": v for i, step in enumerate(program.steps) for k, v in step.arrays.items()
    }
    file = io.BytesIO()
    np.savez(file, program=np.array(json.dumps(program.about)), **arrays)
    return file.getvalue()


PYTHON = '''"""The policy of {env}, exported by swingup {version}. Needs Python and NumPy, nothing else.

    import policy

    action = policy.act(obs)  # obs {obs}, or a batch of them -> action {action}, in the environment's units
"""
{interpreter}

WEIGHTS = """
{weights}
"""

act = load(base64.b64decode(WEIGHTS))
'''


def python(program: Program) -> bytes:
    """The policy as one Python file: the interpreter, then the .npz in base64."""
    source = (Path(__file__).parent / "interpreter.py").read_text(encoding="utf-8")
    body = source.partition('"""\n')[2].replace("import io\n", "import base64\nimport io\n", 1)
    text = PYTHON.format(
        env=program.title,
        version=__version__,
        obs=list(program.obs_shape),
        action=list(program.action_shape),
        interpreter=body.rstrip(),
        weights="\n".join(textwrap.wrap(base64.b64encode(npz(program)).decode(), 108)),
    )
    return text.encode()
