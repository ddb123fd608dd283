"""The graph, read back with TensorBoard's own reader, against the known inputs and outputs of the update."""

from collections import Counter
from dataclasses import dataclass, replace

import jax.numpy as jnp
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from swingup.core.agent import Agent
from swingup.core.networks import Actor, Critic
from swingup.core.noise import Gaussian
from swingup.reports.event_file import EventFile
from swingup.reports.tensorboard_graph import graph_event, graph_of

NETWORKS = {"actor", "critic", "target_actor", "target_critic"}
BOXES = {
    *NETWORKS,
    "batch",
    "critic_loss",
    "actor_loss",
    "critic_adam",
    "actor_adam",
    "soft_update",
    "metrics",
}
SIZES = [((16, 12), 2), ((16, 12), 1), ((8,), 1), ((8, 7, 6), 3)]


def make(hidden=(16, 12), joins=2):
    return Agent(Actor(3, 2, hidden), Critic(3, 2, hidden, joins), Gaussian(0.1), batch=9)


def nodes_of(agent):
    return {node.name: node for node in graph_of(agent).node}


def shape(node):
    (only,) = node.attr["_output_shapes"].list.shape
    return tuple(dim.size for dim in only.dim)


def source(edge):
    return edge.split(":")[0]


def ancestors(nodes, *names):
    found, queue = set(), list(names)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += map(source, nodes[name].input)
    return found


def entries(nodes, *names):
    """Inputs of the program that the named nodes depend on: `batch/obs` in full, networks by name only."""
    found = {name for name in ancestors(nodes, *names) if nodes[name].op in ("Parameter", "Placeholder")}
    return {name if name.startswith("batch/") else name.split("/")[0] for name in found}


def made(nodes, box):
    """Nodes of a box that nothing inside the box reads: its results."""
    inside = [name for name in nodes if name.startswith(f"{box}/")]
    read = {source(edge) for name in inside for edge in nodes[name].input}
    return [name for name in inside if name not in read]


def direct(nodes, box):
    """The top-level boxes that the nodes of a box read."""
    return {e.split("/")[0] for n in nodes if n.startswith(f"{box}/") for e in nodes[n].input} - {
        box.split("/")[0]
    }


@pytest.fixture(scope="module")
def nodes():
    return nodes_of(make())


@pytest.mark.parametrize(("hidden", "joins"), SIZES)
def test_tensorboard_reads_both_networks_back_with_their_shapes(tmp_path, hidden, joins):
    board = EventFile(tmp_path)
    board.write(graph_event(make(hidden, joins)))
    board.scalar("Reward", 1.0, 0)
    board.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["graph"]
    assert events.Tags()["scalars"] == ["Reward"]
    shapes = {node.name: shape(node) for node in events.Graph().node}
    layers = [3, *hidden]
    for prefix in ("", "target_"):
        for i, (inputs, outputs) in enumerate(zip(layers, [*hidden, None], strict=True), 1):
            for network, last in (("actor", 2), ("critic", 1)):
                width = outputs or last
                several = (1,) if network == "critic" else ()  # the axis of the ensemble
                assert shapes[f"{prefix}{network}/layer{i}/w"] == (*several, inputs, width)
                assert shapes[f"{prefix}{network}/layer{i}/b"] == (*several, width)
                assert set(shapes[f"{prefix}{network}/layer{i}/matmul"]) - {1} == {9, width} - {1}
                assert (f"{prefix}{network}/layer{i}/relu" in shapes) == bool(outputs)
        assert shapes[f"{prefix}critic/layer{joins}/a"] == (1, 2, layers[joins])
        assert shapes[f"{prefix}actor/layer{len(layers)}/tanh"] == (9, 2)
    assert {name.split("/")[0] for name in shapes} == BOXES


@pytest.mark.parametrize(("hidden", "joins"), SIZES)
def test_it_is_a_graph(hidden, joins):
    graph = graph_of(make(hidden, joins))
    assert Counter(node.name for node in graph.node).most_common(1)[0][1] == 1
    seen = set()
    for node in graph.node:  # in order: no edge dangles, none closes a cycle
        assert {source(edge) for edge in node.input} <= seen, node.name
        seen.add(node.name)
    scopes = {name.rsplit("/", 1)[0] for name in seen}
    assert not scopes & seen  # a name is a node or a box, not both
    assert graph == graph_of(make(hidden, joins))


def test_the_batch_is_what_an_update_reads(nodes):
    assert {name: shape(node) for name, node in nodes.items() if node.op == "Placeholder"} == {
        "batch/obs": (1, 9, 3),
        "batch/action": (1, 9, 2),
        "batch/reward": (1, 9),
        "batch/discount": (1, 9),
        "batch/next_obs": (1, 9, 3),
    }


def test_the_target_reads_the_targets_only(nodes):
    (target,) = [name for name, node in nodes.items() if node.op == "stop_gradient"]
    assert target.startswith("critic_loss/")
    reward = {"batch/reward", "batch/discount", "batch/next_obs"}
    assert entries(nodes, target) == {"target_actor", "target_critic", *reward}
    assert entries(nodes, "target_critic/layer3/add") == {"target_actor", "target_critic", "batch/next_obs"}
    assert entries(nodes, "target_actor/layer3/tanh") == {"target_actor", "batch/next_obs"}


def test_online_networks_read_the_batch_only(nodes):
    assert entries(nodes, "actor/layer3/tanh") == {"actor", "batch/obs"}
    assert entries(nodes, "critic/layer3/add") == {"critic", "batch/obs", "batch/action"}


def test_the_critic_learns_without_the_actor(nodes):
    assert "actor" not in entries(nodes, *made(nodes, "critic_adam"))
    assert direct(nodes, "critic_loss") == {"critic", "target_critic", "batch"}
    assert direct(nodes, "critic_adam") == {"critic", "critic_loss"}


def test_the_actor_learns_through_the_critic_that_this_update_made(nodes):
    results = made(nodes, "actor_adam")
    assert {shape(nodes[name]) for name in results} >= {(3, 16), (16,), (16, 12), (12,), (12, 2), (2,)}
    assert {"actor", "critic"} <= entries(nodes, *results)
    assert direct(nodes, "actor_loss") == {"actor", "critic_adam", "batch"}
    assert direct(nodes, "actor_loss/critic") == {"actor", "critic_adam", "batch"}
    (dq_da,) = made(nodes, "actor_loss/gradients/critic")
    assert shape(nodes[dq_da]) == (9, 2)
    # Nothing else is wanted of the critic: no gradient passes below the layer where the action joins.
    below = [n for n in nodes if n.startswith("actor_loss/gradients/critic/") and shape(nodes[n]) == (9, 16)]
    assert not below


def test_targets_follow_the_fresh_networks(nodes):
    assert direct(nodes, "soft_update/target_actor") == {"target_actor", "actor_adam"}
    assert direct(nodes, "soft_update/target_critic") == {"target_critic", "critic_adam"}
    for name in ("actor", "critic"):
        results = [n for n in made(nodes, "soft_update") if n.startswith(f"soft_update/target_{name}/")]
        wanted = [shape(nodes[n]) for n in nodes if n.startswith(f"{name}/") and nodes[n].op == "Parameter"]
        assert sorted(shape(nodes[n]) for n in results) == sorted(wanted)


def test_gradients_have_the_shapes_of_the_weights(nodes):
    for name in [n for n in nodes if n.startswith(("actor/", "critic/")) and nodes[n].op == "Parameter"]:
        network, layer, leaf = name.split("/")
        (adam,) = [n for n in nodes if n.startswith(f"{network}_adam/{layer}/{leaf}/select")]
        (gradient,) = [e for e in nodes[adam].input if f"{network}_loss/gradients" in e]
        assert gradient.startswith(f"{network}_loss/gradients/{layer}/{leaf}/")
        assert set(shape(nodes[gradient])) - {1} <= set(
            shape(nodes[name])
        )  # axes of length one may not be drawn


def test_adams_state_is_drawn_beside_the_weight_it_is_for(nodes):
    for name in ("actor", "critic"):
        assert nodes[f"{name}_adam/count"].op == "Variable"
        for moment in ("mu", "nu"):
            assert shape(nodes[f"{name}_adam/layer2/w/{moment}"])[-2:] == (16, 12)


def test_the_metrics_are_there(nodes):
    assert {name.split("/")[1] for name in nodes if name.startswith("metrics/")} - {"stack"} == {
        "q_mean",
        "q_max",
        "finite",
    }
    assert direct(nodes, "metrics/finite") == {"actor_adam", "critic_adam"}
    assert entries(nodes, *made(nodes, "metrics/q_max")) == {"critic", "batch/obs", "batch/action"}


@dataclass(frozen=True)
class Own:
    """A user's network: its parameters have other names, and an operation comes before the first of them."""

    network: Critic

    def init(self, key):
        first, *rest = self.network.init(key)
        return {"first dense": first, "rest": rest, "scale": jnp.ones(())}

    def apply(self, params, obs, action):
        return params["scale"] * self.network.apply(
            (params["first dense"], *params["rest"]), jnp.tanh(obs), action
        )


def test_a_network_of_ones_own():
    agent = make()
    nodes = nodes_of(replace(agent, critic=Own(agent.critic)))
    assert shape(nodes["critic/first_dense/w"]) == (1, 3, 16)
    assert shape(nodes["critic/rest/layer2/w"]) == (1, 12, 1)
    assert shape(nodes["critic/first_dense/tanh"]) == (9, 3)
    assert nodes["critic/scale"].op == "Parameter"
    assert {name.split("/")[0] for name in nodes} == BOXES
    assert entries(nodes, *made(nodes, "actor_adam")) >= {"actor", "critic"}
