"""How each activation function is written in C, JavaScript and ONNX; NumPy's are in `interpreter`."""

from __future__ import annotations

from typing import Any, NamedTuple


class Activation(NamedTuple):
    """One activation: an expression of x in C (double) and in JavaScript, and a list of ONNX nodes.

    An ONNX node is (operator, inputs, attributes): the input x, the number of an earlier node, or a constant
    as a decimal number with a point. NaN must stay NaN.
    """

    c: str
    javascript: str
    onnx: tuple[tuple[str, str, dict[str, Any]], ...]


ACTIVATIONS = {
    "relu": Activation("x < 0 ? 0 : x", "x < 0 ? 0 : x", (("Relu", "x", {}),)),
    "tanh": Activation("tanh(x)", "Math.tanh(x)", (("Tanh", "x", {}),)),
}
