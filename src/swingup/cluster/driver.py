"""The process that talks to Ray: it starts workers and passes work to them and results back.

It is a process of its own, started by `connection.RayProcess`: a driver of Ray ends when its node is lost,
and the learner must live on to save a checkpoint; and `ray.init` replaces the handlers of signals. Messages
are tuples, a word first, over one pipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from swingup.cluster.collector import RemoteCollector
from swingup.cluster.messages import Share, Weights

POLL = 0.02  # seconds between two looks for messages while workers are busy


class Busy(NamedTuple):
    """What a worker is doing: its number, and `start` or `collect`."""

    worker: int
    what: str


class Server:
    """Answers messages; busy: what Ray will return, by its reference; orders: what each word does."""

    busy: dict[Any, Any]
    orders: dict[str, Callable[..., None]]

    def __init__(self, ray: Any, pipe: Connection):
        self.ray, self.pipe, self.busy = ray, pipe, {}

    def serve(self) -> None:
        """Answer messages until the other side is gone."""
        while True:
            if self.busy:
                done, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=POLL)
                for reference in done:
                    self.answer(reference)
            while self.pipe.poll(0 if self.busy else None):
                word, *rest = self.pipe.recv()
                if word == "end":
                    return
                self.orders[word](*rest)

    def answer(self, reference: Any) -> None:
        """Pass on what Ray has returned."""
        raise NotImplementedError


class Driver(Server):
    """Workers of one run on Ray, by their numbers."""

    def __init__(self, ray: Any, pipe: Connection):
        super().__init__(ray, pipe)
        self.orders = {"start": self.start, "collect": self.collect, "weights": self.publish}
        self.actors: dict[int, Any] = {}
        self.busy: dict[Any, Busy] = {}
        self.weights: Any = None  # where they are stored
        # Spread over the nodes, so that a lost node costs few; one core each.
        spread: Callable[..., Any] = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
        self.kind = spread(RemoteCollector)

    def start(self, w: int, share: Share, saved: dict[str, Any] | None) -> None:
        """Make worker w, instead of an earlier one, and let it begin or restore its episodes."""
        if w in self.actors:
            self.busy = {k: v for k, v in self.busy.items() if v.worker != w}
            self.ray.kill(self.actors.pop(w))
        self.actors[w] = self.kind.remote(share)
        self.busy[self.actors[w].start.remote(saved)] = Busy(w, "start")

    def publish(self, weights: Weights) -> None:
        """Store weights once, for all workers."""
        self.weights = self.ray.put(weights)

    def collect(self, w: int, draws: Any) -> None:
        """Let worker w collect with the newest weights."""
        if w in self.actors:
            self.busy[self.actors[w].collect.remote(self.weights, draws)] = Busy(w, "collect")

    def answer(self, reference: Any) -> None:
        """Pass on what a worker returned, or how it failed."""
        worker, what = self.busy.pop(reference)
        try:
            self.pipe.send((what, worker, self.ray.get(reference)))
        except self.ray.exceptions.RayTaskError as error:
            cause = error.as_instanceof_cause()
            name = type(getattr(error, "cause", None) or cause).__name__
            self.pipe.send(("raised", worker, (name, one_line(getattr(error, "cause", None) or cause))))
        except self.ray.exceptions.RayError as error:
            self.pipe.send(("lost", worker, f"{type(error).__name__}: {one_line(error):.160}"))


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def main(descriptor: int, options: dict[str, Any], server: Callable[[Any, Connection], Server]) -> None:
    """Connect to a cluster, or start one on this machine, and let the server answer the pipe's messages."""
    pipe = Connection(descriptor)
    try:
        ray = connect(options)
    except Exception as error:  # whatever Ray raises here, the learner says it in one line
        pipe.send(("refused", f"{type(error).__name__}: {one_line(error):.300}"))
        os._exit(1)
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    pipe.send(("connected", [int(has.get("CPU", 0)) for has in alive]))
    try:
        server(ray, pipe).serve()
    except (EOFError, BrokenPipeError):
        pass  # the learner is gone
    finally:
        quietly(ray.shutdown)
        os._exit(0)


def connect(options: dict[str, Any]) -> Any:
    """The module ray, connected; options: `address` (None: a cluster of our own) and `cores`."""
    import ray

    about: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if options["address"] is not None:
        ray.init(address=options["address"], **about)
    else:
        ray.init(
            num_cpus=options["cores"],
            include_dashboard=False,
            object_store_memory=options["store"],
            _temp_dir=options["folder"],
            **about,
        )
    return ray


def quietly(do: Callable[[], Any]) -> None:
    """Call a function that may fail because its cluster is gone."""
    try:
        do()
    except Exception:
        return
