"""Actor, critic and one update as a graph for TensorBoard's Graphs tab: one node per traced operation.

`jax.make_jaxpr` gives the operations. The rest chooses the box (scope) in which each is drawn, from the
program's structure and not from its source, so that the algorithm can change without this file: an
application of a network is drawn in the box of its parameters, any other operation in the innermost scope
that holds all its uses.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from itertools import count, takewhile
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from tensorboardX.proto.attr_value_pb2 import AttrValue
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.node_def_pb2 import NodeDef
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboardX.proto.versions_pb2 import VersionDef

from swingup.core import agent as algorithm
from swingup.core.agent import Agent

Scope = tuple[str, ...]

# Primitives that call another program, and the parameter that holds it. A loop or a branch stays one node.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
# Not drawn: they change the storage or shape of an array or select a part of it, but compute no values.
TRIVIAL = (
    "convert_element_type",
    "broadcast_in_dim",
    "reshape",
    "copy",
    "squeeze",
    "slice",
    "expand_dims",
    "transpose",
)
# Familiar names of primitives; a node's `op` is JAX's own name.
WORDS = {
    "dot_general": "matmul",
    "reduce_sum": "sum",
    "reduce_max": "max",
    "add_any": "add",
    "select_n": "select",
    "integer_pow": "pow",
}


@lru_cache(1)  # the seeds of a group have the same
def graph_of(agent: Agent) -> GraphDef:
    """The graph of both networks and one `agent.update`, from shapes alone: nothing is compiled or computed.

    Boxes: batch, the networks of `Learner`, NETWORK_loss (its gradients inside), NETWORK_adam, soft_update
    and metrics. Nodes come in program order, inputs first; `_output_shapes` holds the shape of every array.
    """
    program = trace(agent)
    arrange(program)
    names: dict[Value, str] = {}
    taken: set[str] = set()
    drawn = []
    for node in program.nodes:
        if node.scope:
            stem = re.sub(r"[^\w./-]", "_", "/".join((*node.scope, node.word)))
            name = next(n for i in count() if (n := f"{stem}_{i}" if i else stem) not in taken)
            taken.add(name)
            names |= {value: f"{name}:{i}" if i else name for i, value in enumerate(node.writes)}
            drawn.append(node_def(node, name, names))
    return GraphDef(node=drawn, versions=VersionDef(producer=22))


def graph_event(agent: Agent) -> Event:
    """The agent's graph as an event for TensorBoard's Graphs tab."""
    return Event(graph_def=graph_of(agent).SerializeToString())


@dataclass(eq=False)
class Value:
    """One array of the program."""

    shape: tuple[int, ...]


@dataclass(eq=False)
class Node:
    """One operation or input. `scope` is empty until it is assigned, and for good if no result needs it.

    application: the application of a network that it belongs to, or "".
    """

    op: str
    word: str
    writes: list[Value]
    reads: list[Value] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    application: str = ""
    backward: bool = False
    scope: Scope = ()


@dataclass
class Program:
    """The traced update: its nodes in order, and the meaning of its inputs and results.

    layer: a parameter, before or after the update -> the network and layer it belongs to.
    home: a result -> the scopes in which it is made (two names may share one array).
    """

    nodes: list[Node]
    layer: dict[Value, Scope]
    home: dict[Value, list[Scope]]


@runtime_checkable
class Network(Protocol):
    """A network as in `core.networks`: `init` makes its parameters, `apply` computes its output."""

    def init(self, key) -> Any: ...
    def apply(self, params, *inputs) -> Any: ...


@dataclass(frozen=True)
class Marked:
    """The same network, with each application numbered in the name stack of the traced program."""

    network: Any
    number: Iterator[int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def apply(self, params, *inputs):
        """The network's output, traced in a numbered name scope."""
        with jax.named_scope(f"swingup-apply-{next(self.number)}"):
            return self.network.apply(params, *inputs)


def trace(agent: Agent) -> Program:
    """The operations of `agent.update`, with calls inlined."""
    number = count()
    parts = [(f.name, getattr(agent, f.name)) for f in fields(agent)]
    networks: dict[str, Any] = {
        name: Marked(part, number) for name, part in parts if isinstance(part, Network)
    }
    rows = jax.ShapeDtypeStruct((agent.delay, agent.batch, agent.layout.width), jnp.result_type(float))
    inputs = jax.eval_shape(
        lambda r: (algorithm.init(agent, jax.random.key(0)), agent.layout.unpack(r)), rows
    )
    marked, key = replace(agent, **networks), jax.random.key(0)
    jaxpr, results = jax.make_jaxpr(lambda s, b: algorithm.update(marked, s, b, key)[:2], return_shape=True)(
        *inputs
    )

    nodes = [entry(path, leaf.shape) for path, leaf in leaves(inputs, "batch")]
    arguments = [node.writes[0] for node in nodes]
    values = inline(jaxpr, arguments, "", nodes)
    layer = {node.writes[0]: node.scope for node in nodes if node.op == "Parameter"}
    home = defaultdict(list)
    for value, (path, _) in zip(values, leaves(results, "metrics"), strict=True):
        if isinstance(value, Value) and value not in arguments:
            home[value].append(birthplace(path))
            if is_parameter(path):
                layer[value] = path[:-1] or path
    return Program(nodes, layer, home)


def leaves(pair: tuple[Any, Any], name: str) -> list[tuple[Scope, Any]]:
    """Leaves of a Learner and of a second tree, called `name`, with paths like ("actor", "layer1", "w")."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path((pair[0], {name: pair[1]})):
        text = jax.tree_util.keystr(path[1:], simple=True, separator="/")
        # The number just before a parameter's name is that of its layer.
        text = re.sub(r"(?<!_opt)/(\d+)/(\D+)$", lambda m: f"/layer{int(m[1]) + 1}/{m[2]}", text)
        found.append((tuple(text.split("/")), leaf))
    return found


def is_parameter(path: Scope) -> bool:
    """Whether this is a network's parameter, not of the batch, the metrics or an optimizer's state."""
    return path[0] not in ("batch", "metrics") and not path[0].endswith("_opt")


def entry(path: Scope, shape: tuple[int, ...]) -> Node:
    """The node of an input. An optimizer's state has no scope yet: it is drawn where it is used."""
    if path[0].endswith("_opt"):
        return Node(
            "Variable", next((word for word in path[1:] if not word.isdigit()), "state"), [Value(shape)]
        )
    return Node(
        "Parameter" if is_parameter(path) else "Placeholder",
        path[-1],
        [Value(shape)],
        scope=path[:-1] or path,
    )


def birthplace(path: Scope) -> Scope:
    """A result's scope: new weights in the optimizer's box, new targets in soft_update, losses in theirs."""
    if path[0] == "metrics":
        return path[1:] if path[1].endswith("_loss") else path
    if path[0].startswith("target_"):
        return ("soft_update", *path)
    if path[0].endswith("_opt"):
        return (path[0].removesuffix("_opt") + "_adam",)
    return (path[0] + "_adam", *path[1:])


def inline(jaxpr: ClosedJaxpr, arguments: list, stack: str, nodes: list[Node]) -> list:
    """Append the operations of jaxpr(*arguments) to nodes; returns its results, constants as text."""
    known = dict(zip(jaxpr.jaxpr.invars, arguments, strict=True))
    known |= {
        var: f"{const.dtype}{list(const.shape)}"
        for var, const in zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True)
    }

    def read(atom):
        return str(np.asarray(atom.val)) if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.jaxpr.eqns:
        op, inputs = eqn.primitive.name, [read(atom) for atom in eqn.invars]
        place = f"{stack}/{eqn.source_info.name_stack}"
        if op in CALLS:
            outputs = inline(eqn.params[CALLS[op]], inputs, place, nodes)
        elif op in TRIVIAL:
            outputs = inputs[:1]
        else:
            outputs = [Value(var.aval.shape) for var in eqn.outvars]
            nodes.append(operation(op, inputs, outputs, place))
        known |= zip(eqn.outvars, outputs, strict=True)
    return [read(atom) for atom in jaxpr.jaxpr.outvars]


def operation(op: str, inputs: list, outputs: list, stack: str) -> Node:
    """The node of an equation. Its name stack gives the network's application and marks backward passes."""
    reads = [x for x in inputs if isinstance(x, Value)]
    constants = [x for x in inputs if not isinstance(x, Value)]
    word = "relu" if op == "max" and constants in (["0"], ["0.0"]) else WORDS.get(op, op)
    mark = re.search(r"swingup-apply-\d+", stack)
    return Node(op, word, outputs, reads, constants, mark[0] if mark else "", "transpose(" in stack)


def arrange(program: Program) -> None:
    """Assign a scope to every node that a result depends on, working backwards from the results."""
    reads = [
        (node.application, v)
        for node in program.nodes
        if node.application
        for v in node.reads
        if v in program.layer
    ]
    first = dict(reversed(reads))  # application -> the parameter that it reads first
    uses: dict[Value, list[Scope]] = defaultdict(list)
    around: dict[str, Scope] = {}  # application -> the scope that uses its output
    applied = []
    for node in reversed(program.nodes):
        served = [scope for v in node.writes for scope in (*program.home.get(v, ()), *reversed(uses[v]))]
        if not served:
            node.scope = ()
            continue
        forward = [scope for scope in served if "gradients" not in scope]
        scope = meet(forward or served)
        network = program.layer[first[node.application]][0] if node.application in first else ""
        if node.backward or not forward:
            scope = gradients(scope, network)
        elif network:
            scope = around.setdefault(node.application, scope)
            applied.append(node)
        node.scope = node.scope or scope
        for v in dict.fromkeys(node.reads):
            uses[v].append(scope)
    assign_scopes(program, applied[::-1], first, around)


def meet(scopes: list[Scope]) -> Scope:
    """The innermost scope of all those in the first one's box; any that encloses another is ignored."""
    box = {s for s in scopes if s[0] == scopes[0][0]}
    inner = [s for s in box if not any(s == o[: len(s)] for o in box - {s})]
    shared = takewhile(lambda column: len(set(column)) == 1, zip(*inner, strict=False))
    return tuple(column[0] for column in shared)


def gradients(scope: Scope, network: str) -> Scope:
    """The scope of a backward pass through a network, given the scope of its use.

    A network that learns has one per layer; a network between it and the loss has one in all.
    """
    box = re.sub("_adam$", "_loss", scope[0])
    if network and box != f"{network}_loss":
        return (box, "gradients", network)
    return scope if "gradients" in scope else (box, "gradients", *scope[1:])


def assign_scopes(
    program: Program, applied: list[Node], first: dict[str, Value], around: dict[str, Scope]
) -> None:
    """Draw each operation of a network in the layer whose parameters were read last.

    A network with parameters computed by this update is drawn where it is used, not in its own box.
    """
    last = dict(first)
    for node in applied:
        for v in node.reads:
            if v in program.layer:
                last[node.application] = v
        v = last[node.application]
        node.scope = (*around[node.application], *program.layer[v]) if v in program.home else program.layer[v]


def node_def(node: Node, name: str, names: dict[Value, str]) -> NodeDef:
    """The node as a TensorBoard message; the constants that it reads are an attribute."""
    shapes = [TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in v.shape]) for v in node.writes]
    attr = {"_output_shapes": AttrValue(list=AttrValue.ListValue(shape=shapes))}
    if node.constants:
        attr["constants"] = AttrValue(s=", ".join(node.constants).encode())
    return NodeDef(name=name, op=node.op, input=[names[v] for v in node.reads], attr=attr)
