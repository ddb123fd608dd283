"""A policy as an ONNX model with a batch of any size; needs the package onnx."""

from __future__ import annotations

from typing import Any

import numpy as np

from swingup import __version__
from swingup.errors import InputError
from swingup.export.activations import ACTIVATIONS
from swingup.export.program import Program, Step

OPSET, IR = 17, 8  # of 2022, so that older runtimes read the file, too


def onnx_model(program: Program) -> bytes:
    """The policy as ONNX: `observation` float32 [batch, *obs_shape] -> `action` [batch, *action_shape]."""
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            f"export --format onnx: the package onnx cannot be imported ({error}); "
            "pip install 'swingup[export]'"
        ) from error
    tensor, make = onnx.TensorProto, onnx.helper
    graph = Graph(onnx, program)
    kinds = {"float16": tensor.FLOAT16, "float32": tensor.FLOAT, "float64": tensor.DOUBLE}
    output = make.make_tensor_value_info(
        "action", kinds[program.action_dtype], ["batch", *program.action_shape]
    )
    source = make.make_tensor_value_info("observation", tensor.FLOAT, ["batch", *program.obs_shape])
    graph.write(kinds[program.action_dtype])
    made = make.make_graph(graph.nodes, "swingup", [source], [output], graph.constants)
    model = make.make_model(
        made,
        opset_imports=[make.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="swingup",
        producer_version=__version__,
        doc_string=f"The greedy policy of {program.title}: raw observation -> action in its units.",
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


class Graph:
    """The nodes and constants of a program, written one step after the other."""

    def __init__(self, onnx: Any, program: Program):
        self.onnx, self.program = onnx, program
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = name or f"x{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def write(self, dtype: int) -> None:
        """Write the whole program; dtype: ONNX's number of the action's type."""
        program, x = self.program, "observation"
        if len(program.obs_shape) != 1:
            x = self.node("Reshape", x, self.constant([-1, program.obs_size], np.int64))
        for step in program.steps:
            x = getattr(self, step.kind)(x, step)
        shaped = self.constant([-1, *program.action_shape], np.int64)
        self.node("Reshape", self.node("Cast", x, to=dtype), shaped, name="action")

    def normalize(self, x: str, step: Step) -> str:
        centred = self.node("Sub", x, self.constant(step.arrays["mean"]))
        scaled = self.node("Div", centred, self.constant(step.arrays["deviation"]))
        limit = step.values["limit"]
        return self.node("Clip", scaled, self.constant(-limit), self.constant(limit))

    def dense(self, x: str, step: Step) -> str:
        y = self.node("MatMul", x, self.constant(step.arrays["w"]))
        return self.node("Add", y, self.constant(step.arrays["b"])) if "b" in step.arrays else y

    def layer_norm(self, x: str, step: Step) -> str:
        scale, bias = self.constant(step.arrays["scale"]), self.constant(step.arrays["b"])
        return self.node("LayerNormalization", x, scale, bias, epsilon=step.values["epsilon"])

    def activation(self, x: str, step: Step) -> str:
        outputs: list[str] = []
        for operator, inputs, attributes in ACTIVATIONS[step.values["name"]].onnx:
            names = [
                x if word == "x" else self.constant(float(word)) if "." in word else outputs[int(word)]
                for word in inputs.split()
            ]
            outputs.append(self.node(operator, *names, **attributes))
        return outputs[-1]

    def rescale(self, x: str, step: Step) -> str:
        """In double only for actions of double: few runtimes for small machines have it."""
        double = self.program.action_dtype == "float64"
        dtype = np.float64 if double else np.float32
        if double:
            x = self.node("Cast", x, to=self.onnx.TensorProto.DOUBLE)
        low, high = (step.arrays[name].astype(dtype) for name in ("low", "high"))
        one, two = self.constant(1, dtype), self.constant(2, dtype)
        below = self.node("Mul", self.constant(low, dtype), self.node("Div", self.node("Sub", one, x), two))
        above = self.node("Mul", self.constant(high, dtype), self.node("Div", self.node("Add", one, x), two))
        total = self.node("Add", below, above)
        # Clip takes single numbers only; these two take one for each dimension.
        least = self.node("Max", total, self.constant(low, dtype))
        return self.node("Min", least, self.constant(high, dtype))
