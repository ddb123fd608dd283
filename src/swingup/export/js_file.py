"""A policy as one JavaScript file, for Node and for browsers; no library."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from swingup import __version__
from swingup.export.activations import ACTIVATIONS
from swingup.export.program import Program


def javascript(program: Program) -> bytes:
    """The policy as a script: a function `swingupPolicy(observation) -> action`, or Node's module."""
    about, weights = packed(program)
    used = {step.values["name"] for step in program.steps if step.kind == "activation"}
    lines = [f"    {name}: (x) => ({ACTIVATIONS[name].javascript})," for name in sorted(used)]
    words = {
        "{env}": program.title,
        "{version}": __version__,
        "{obs}": str(program.obs_size),
        "{actions}": str(program.action_size),
        "{activations}": "\n".join(lines),
        # Escaped, so that the text may stand inside a <script> of a page.
        "{about}": json.dumps(about).replace("<", "\\u003c"),
        "{weights}": base64.b64encode(weights).decode(),
    }
    text = (Path(__file__).parent / "policy.js").read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(word, value)
    return text.encode()


def packed(program: Program) -> tuple[dict[str, Any], bytes]:
    """The steps as JSON values with each float32 array's place (byte, length), and the bytes.

    Bounds of the action stay numbers: they are float64.
    """
    about, data = program.about, bytearray()
    about["inputs"] = program.obs_size
    for values, step in zip(about["steps"], program.steps, strict=True):
        for name, array in step.arrays.items():
            if array.dtype == np.float64:
                values[name] = array.tolist()
                continue
            if name == "w":
                values["outputs"] = array.shape[1]
                array = array.T
            values.setdefault("arrays", {})[name] = [len(data), array.size]
            data += np.ascontiguousarray(array, "<f4").tobytes()
    return about, bytes(data)
