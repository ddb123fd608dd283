"""How each activation function is written in C, JavaScript and ONNX; NumPy's are in `interpreter`."""

from __future__ import annotations

from typing import Any, NamedTuple


class Activation(NamedTuple):
    """One activation: an expression of x in C (double) and in JavaScript, and a list of ONNX nodes.

    An ONNX node is (operator, inputs, attributes); an input is x, the number of an earlier node, or a
    constant as a decimal number with a point. NaN stays NaN in all of them.
    """

    c: str
    javascript: str
    onnx: tuple[tuple[str, str, dict[str, Any]], ...]


ACTIVATIONS = {
    "relu": Activation("x < 0 ? 0 : x", "x < 0 ? 0 : x", (("Relu", "x", {}),)),
    "elu": Activation("x > 0 ? x : expm1(x)", "x > 0 ? x : Math.expm1(x)", (("Elu", "x", {}),)),
    "silu": Activation(
        "x * (0.5 + 0.5 * tanh(0.5 * x))",
        "x * (0.5 + 0.5 * Math.tanh(0.5 * x))",
        (("Sigmoid", "x", {}), ("Mul", "x 0", {})),
    ),
    "tanh": Activation("tanh(x)", "Math.tanh(x)", (("Tanh", "x", {}),)),
}
