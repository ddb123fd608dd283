"""The learner's side of the workers: it starts them, hands out work, and replaces those that are lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from swingup.cluster.connection import STARTING, TRIES, Cluster, ClusterLost, DriverLost, RayProcess
from swingup.cluster.messages import Draws, Share, Weights
from swingup.errors import EnvFault, InputError

STEP = 60.0  # seconds that a step of one environment may take
State = dict[str, np.ndarray]
KINDS: dict[str, type[Exception]] = {"EnvFault": EnvFault, "InputError": InputError}


class Fleet(RayProcess):
    """W workers on Ray, through a process of their own (`driver`).

    shares: what each makes and steps. Raises InputError if the cluster cannot be used.
    """

    server = "swingup.cluster.driver:Driver"
    again = "it is made again, all episodes are repeated"

    def __init__(self, cluster: Cluster, shares: list[Share]):
        self.shares = shares
        self.strikes: Counter[int] = Counter()
        self.restarts = 0
        self.replacing: set[int] = set()  # workers that are being made again
        super().__init__(cluster)

    def check_room(self, nodes: list[int]) -> None:
        if (cores := sum(nodes)) < len(self.shares):
            what = f"the cluster has {cores} cores in {len(nodes)} nodes, a worker needs one"
            raise InputError(f"--workers {len(self.shares)}: {what}; lower --workers or add nodes")

    def start(self, saved: list[State | None]) -> list[tuple[Any, np.ndarray, State]]:
        """Make every worker and let it begin or restore its episodes; answers in the order of shares."""
        self.weights: Weights | None = None
        self.asked: dict[int, Draws] = {}  # what workers collect that are not waited for together,
        self.since: dict[int, float] = {}  # and since when
        with suppress(DriverLost):  # `gather` notices it
            self.start_all(lambda w: saved[w])
        return self.gather("start", lambda w: saved[w], lambda w, lost: None, STARTING)

    def start_all(self, saved: Callable[[int], State | None]) -> None:
        """Make every worker, with the current weights if there are any."""
        if self.weights is not None:
            self.send("weights", self.weights)
        for w, share in enumerate(self.shares):
            self.send("start", w, share, saved(w))

    def begin(self, weights: Weights, draws: Draws) -> None:
        """Let every worker collect; `results` returns what they collected."""
        self.weights, self.draws = weights, draws
        with suppress(DriverLost):  # `gather` notices it
            self.send("weights", weights)
            for w in range(len(self.shares)):
                self.send("collect", w, self.part(w))

    def part(self, w: int) -> Draws:
        """A worker's part of the random numbers."""
        return self.draws.part(self.shares[w].first, self.shares[w].n)

    def results(
        self, saved: Callable[[int], State], restored: Callable[[int, np.ndarray], None]
    ) -> list[Any]:
        """What every worker collected since `begin`, in the order of shares, whatever came first.

        A lost worker is made again from its state `saved(w)`, and collects again; restored: called with its
        number and lost[n] of `RemoteCollector.start`.
        """
        most = max(share.n for share in self.shares) * len(self.draws.uniform)
        return self.gather("collect", saved, restored, STEP * most + STARTING)

    def publish(self, weights: Weights) -> None:
        """Give all workers these weights from their next piece of work on."""
        self.weights = weights
        with suppress(DriverLost):  # `next` notices it
            self.send("weights", weights)

    def ask(self, w: int, draws: Draws) -> None:
        """Let one worker collect; `next` returns what it collected."""
        self.asked[w], self.since[w] = draws, time.monotonic()
        with suppress(DriverLost):
            self.send("collect", w, draws)

    def next(
        self, saved: Callable[[int], State], restored: Callable[[int, np.ndarray], None]
    ) -> tuple[int, Any]:
        """A worker that was asked, and what it collected, whichever is first; lost ones are made again."""
        while True:
            try:
                word, w, answer = self.first_answer()
                if word == "raised":
                    raise KINDS.get(answer[0], EnvFault)(described(*answer))
                if word == "lost":
                    self.replacing.add(w)
                    self.count(w, answer)
                    self.send("start", w, self.shares[w], saved(w))
                elif word == "start":
                    self.replacing.discard(w)
                    restored(w, answer[1])
                    if w in self.asked:
                        self.since[w] = time.monotonic()
                        self.send("collect", w, self.asked[w])
                elif w in self.asked:
                    self.strikes[w] = self.reconnects = 0
                    del self.asked[w], self.since[w]
                    return w, answer
            except DriverLost as error:
                self.reconnect(str(error))
                self.replacing = set(range(len(self.shares)))
                with suppress(DriverLost):
                    self.start_all(saved)

    def first_answer(self) -> Any:
        """The next message; a worker that does not answer in time counts as lost."""
        message = self.receive(self.cluster.patience)
        now, most = time.monotonic(), STEP * len(next(iter(self.asked.values())).uniform)
        late = [w for w, since in self.since.items() if now - since > STARTING + most * self.shares[w].n]
        if message is None and not late and self.replacing:
            raise ClusterLost(f"no worker could be made again for {self.cluster.patience:.0f} s")
        if message is None:
            return ("lost", late[0], "no answer in time") if late else ("nothing", -1, None)
        return message

    def gather(
        self,
        wanted: str,
        saved: Callable[[int], State | None],
        restored: Callable[[int, np.ndarray], None],
        seconds: float,
    ) -> list[Any]:
        """The answers of all workers to one piece of work; lost ones are made again and asked again."""
        replacing: set[int] = set()
        while True:
            try:
                answers = self.answers(wanted, saved, restored, seconds, replacing)
                self.strikes.clear()
                self.reconnects = 0
                return answers
            except DriverLost as error:
                replacing = set(range(len(self.shares)))
                self.reconnect(str(error))
                with suppress(DriverLost):
                    self.start_all(saved)

    def answers(
        self,
        wanted: str,
        saved: Callable[[int], State | None],
        restored: Callable[[int, np.ndarray], None],
        seconds: float,
        replacing: set[int],
    ) -> list[Any]:
        """`gather`, until the driver is lost; replacing: the workers that are being made again."""
        found: dict[int, Any] = {}
        while len(found) < len(self.shares):
            message = self.receive(self.cluster.patience if replacing else seconds)
            if message is None:
                missing = set(range(len(self.shares))) - set(found)
                if replacing:
                    raise ClusterLost(f"no worker could be made again for {self.cluster.patience:.0f} s")
                message = ("lost", min(missing), f"no answer for {seconds:.0f} s")
            word, w, answer = message
            if word == "raised":
                raise KINDS.get(answer[0], EnvFault)(described(*answer))
            if word == "lost":
                replacing.add(w)
                self.count(w, answer)
                self.send("start", w, self.shares[w], saved(w))
            elif word == wanted:
                replacing.discard(w)
                found[w] = answer
            else:  # a worker that was made again
                restored(w, answer[1])
                self.send("collect", w, self.part(w))
        return [found[w] for w in range(len(self.shares))]

    def count(self, w: int, why: str) -> None:
        """Count the loss of a worker; EnvFault where it is lost again and again at the same work."""
        self.restarts += 1
        self.strikes[w] += 1
        self.cluster.say(f"worker {w} is lost ({why:.100}); it is made again, its episodes are repeated")
        if self.strikes[w] >= TRIES:
            raise EnvFault(f"worker {w}: lost {TRIES} times at the same step ({why}); see {self.cluster.log}")


def described(name: str, text: str) -> str:
    """An exception of a worker in one line."""
    return text if name in KINDS else f"a worker raised {name}: {text}"


def shares_of(n: int, workers: int, **about: Any) -> list[Share]:
    """The environments split into contiguous shares of nearly equal size."""
    parts = np.array_split(np.arange(n), min(workers, n))
    return [Share(first=int(p[0]), n=len(p), **about) for p in parts]
