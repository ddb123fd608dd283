"""In the process that talks to Ray: jobs as tasks on a cluster, each a process on some node."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from swingup.cluster.driver import Server, one_line, quietly
from swingup.cluster.task import Job, Task


class TaskDriver(Server):
    """Jobs on Ray by their numbers. It sends, each with a job's number:

    begun, with the node; lines; ended, with an exit code or None and a reason; lost, with the reason.
    """

    def __init__(self, ray: Any, pipe: Connection):
        super().__init__(ray, pipe)
        self.orders = {"start": self.start, "stop": self.stop, "drop": self.drop}
        self.actors: dict[int, Any] = {}
        self.begun: set[int] = set()
        self.stopping: set[int] = set()  # those that are told so in the next call
        spread: Callable[..., Any] = ray.remote(scheduling_strategy="SPREAD")
        self.kind = spread(Task)

    def start(self, k: int, job: Job) -> None:
        """Start job k where there are cores for it, now or later."""
        self.drop(k)
        self.actors[k] = self.kind.options(num_cpus=job.cores).remote(job)
        self.busy[self.actors[k].node.remote()] = k

    def stop(self, k: int) -> None:
        """Let job k save and end; one that has not begun never does."""
        if k in self.begun:
            self.stopping.add(k)
        elif k in self.actors:
            self.drop(k)
            self.pipe.send(("ended", k, (None, "")))

    def drop(self, k: int) -> None:
        """Forget a job and end what is left of it."""
        self.busy = {reference: of for reference, of in self.busy.items() if of != k}
        self.begun.discard(k)
        self.stopping.discard(k)
        if k in self.actors:
            actor = self.actors.pop(k)
            quietly(lambda: self.ray.kill(actor))

    def answer(self, reference: Any) -> None:
        """Pass on what a task returned, and call it again until its process has ended."""
        k = self.busy.pop(reference)
        try:
            found = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None) or error.as_instanceof_cause()
            self.drop(k)
            self.pipe.send(("ended", k, (None, f"{one_line(cause):.300}")))
        except self.ray.exceptions.RayError as error:
            self.drop(k)
            self.pipe.send(("lost", k, f"{type(error).__name__}: {one_line(error):.160}"))
        else:
            self.go_on(k, found)

    def go_on(self, k: int, found: str | tuple[list[str], int | None]) -> None:
        """Send what a task returned: its node when it begins, then lines and at the end an exit code."""
        if isinstance(found, str):
            self.begun.add(k)
            self.pipe.send(("begun", k, found))
            self.busy[self.actors[k].start.remote()] = k
            return
        lines, code = found
        if lines:
            self.pipe.send(("lines", k, lines))
        if code is not None:
            self.drop(k)
            self.pipe.send(("ended", k, (code, "")))
            return
        self.busy[self.actors[k].lines.remote(k in self.stopping)] = k
        self.stopping.discard(k)
