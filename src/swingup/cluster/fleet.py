"""The learner's side of the workers: it starts them, hands out work, and replaces those that are lost."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from swingup.cluster.messages import Draws, Share, Weights
from swingup.errors import EnvFault, InputError

STARTING = 120.0  # seconds in which a cluster, or a worker that is made, has to answer
STEP = 60.0  # seconds that a step of one environment may take
TRIES = 3  # losses of one worker at one piece of work after which its environment is blamed
STORE = 256 << 20  # bytes of the object store of a cluster that swingup starts: a few sets of weights
State = dict[str, np.ndarray]
# With this variable Ray takes 127.0.0.1 for the address of its own node, and its servers listen there only.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
KINDS: dict[str, type[Exception]] = {"EnvFault": EnvFault, "InputError": InputError}


class ClusterLost(Exception):
    """No worker can be had any more: the nodes, or the whole cluster, are gone."""


class DriverLost(ClusterLost):
    """The process that talks to Ray has ended: its node, or the head of the cluster, is gone."""


@dataclass(frozen=True)
class Cluster:
    """Where the workers are: the address of a cluster, or None for one that swingup starts on this machine.

    patience: seconds to wait for a lost worker to be replaced; log: the file for what Ray prints.
    """

    address: str | None
    workers: int
    patience: float
    log: Path
    say: Callable[[str], None]


class Fleet:
    """W workers on Ray, through a process of their own (`driver`).

    shares: what each makes and steps. Raises InputError if the cluster cannot be used.
    """

    def __init__(self, cluster: Cluster, shares: list[Share]):
        self.cluster, self.shares = cluster, shares
        self.strikes: Counter[int] = Counter()
        self.restarts = self.reconnects = 0
        self.replacing: set[int] = set()  # workers that are being made again
        self.folder = tempfile.mkdtemp(prefix="swu", dir="/tmp")  # Ray's sockets need a short path
        try:
            self.connect(STARTING)
        except ClusterLost as error:
            self.close()
            raise InputError(f"--on ray: the cluster did not start ({error}); see {cluster.log}") from error
        except InputError:
            self.close()
            raise

    def connect(self, seconds: float) -> None:
        """Start the driver and wait for the cluster; InputError or ClusterLost if it cannot be used."""
        self.pipe, theirs = Pipe()
        self.process = self.start_driver(theirs.fileno())
        theirs.close()
        word, cores, nodes = self.receive(seconds) or ("refused", 0, f"no answer for {seconds:.0f} s")
        if word == "refused":
            where = f"--address {self.cluster.address}" if self.cluster.address else "--on ray"
            fix = "is the address right, and RAY_AUTH_TOKEN that of the cluster?"
            raise InputError(f"{where}: Ray cannot be used here ({nodes}); {fix}")
        if cores < len(self.shares):
            what = f"the cluster has {cores} cores in {nodes} nodes, a worker needs one"
            raise InputError(f"--workers {len(self.shares)}: {what}; lower --workers or add nodes")

    def reconnect(self, why: str) -> None:
        """Start the driver again, after its node was lost; ClusterLost if that is in vain."""
        self.reconnects += 1
        if self.reconnects >= TRIES:
            raise ClusterLost(why)
        self.cluster.say(f"{why}; it is made again, all episodes are repeated")
        self.end_driver(0)
        try:
            self.connect(self.cluster.patience)
        except InputError as error:
            raise ClusterLost(str(error)) from error

    def start_driver(self, descriptor: int) -> subprocess.Popen:
        """Start the process that talks to Ray; what that and its workers print goes into the log."""
        own = {"workers": len(self.shares), "store": STORE, "folder": self.folder}
        options = {"address": self.cluster.address, **own}
        call = f"from swingup.cluster.driver import main; main({descriptor}, {options!r})"
        code = f"import sys; sys.path[:] = {sys.path!r}; {call}"
        with self.cluster.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[descriptor],
                process_group=0,  # no Ctrl-C of the terminal's
                env=os.environ | environment(self.cluster.address),
            )

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

    def send(self, *message: Any) -> None:
        """Send a message to the driver; DriverLost if that has ended."""
        try:
            self.pipe.send(message)
        except OSError as error:
            raise DriverLost("the connection to the cluster is lost") from error

    def receive(self, seconds: float) -> Any:
        """The next message of the driver, None if there is none for so long; DriverLost if it has ended."""
        try:
            return self.pipe.recv() if self.pipe.poll(seconds) else None
        except (EOFError, OSError) as error:
            raise DriverLost("the connection to the cluster is lost") from error

    def end_driver(self, seconds: float) -> None:
        """End the driver, which may take so long to end the workers and a cluster of our own."""
        with suppress(OSError, subprocess.TimeoutExpired):
            self.pipe.send(("end",))
            self.process.wait(seconds)
        self.process.kill()
        self.process.wait()
        self.pipe.close()

    def close(self) -> None:
        """End the workers, and the cluster if it is our own."""
        self.end_driver(15)
        shutil.rmtree(self.folder, ignore_errors=True)


def described(name: str, text: str) -> str:
    """An exception of a worker in one line."""
    return text if name in KINDS else f"a worker raised {name}: {text}"


def environment(address: str | None) -> dict[str, str]:
    """Variables of the process that talks to Ray.

    Of a cluster of our own: a token that only it knows, and nothing that listens beyond loopback. The token
    of another cluster is in RAY_AUTH_TOKEN, or in the file that RAY_AUTH_TOKEN_PATH names.
    """
    known = {"RAY_USAGE_STATS_ENABLED": "0", "OPENBLAS_NUM_THREADS": "1"}
    if address is not None:
        tokens = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
        here = LOOPBACK if re.match(r"(127\.|localhost:)", address) else {}
        asks = {"RAY_AUTH_MODE": "token"} if tokens and "RAY_AUTH_MODE" not in os.environ else {}
        return known | here | asks
    return (
        known
        | LOOPBACK
        | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "JAX_PLATFORMS": "cpu",  # should an environment of the user's import JAX
        }
    )


def shares_of(n: int, workers: int, **about: Any) -> list[Share]:
    """The environments split into contiguous shares of nearly equal size."""
    parts = np.array_split(np.arange(n), min(workers, n))
    return [Share(first=int(p[0]), n=len(p), **about) for p in parts]
