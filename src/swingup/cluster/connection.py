"""The process that talks to Ray, seen from the process that trains: started, spoken to, ended."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from swingup.errors import InputError

STARTING = 120.0  # seconds in which a cluster, or a worker that is made, has to answer
TRIES = 3  # losses in a row after which nothing is started again
STORE = 256 << 20  # bytes of the object store of a cluster that swingup starts: a few sets of weights
# With this variable Ray takes 127.0.0.1 for the address of its own node, and its servers listen there only.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class ClusterLost(Exception):
    """No worker can be had any more: the nodes, or the whole cluster, are gone."""


class DriverLost(ClusterLost):
    """The process that talks to Ray has ended: its node, or the head of the cluster, is gone."""


@dataclass(frozen=True)
class Cluster:
    """Where the work is done: the address of a cluster, or None for one that swingup starts on this machine.

    cores: those of a cluster that swingup starts; patience: seconds to wait for lost workers to be replaced;
    log: the file for what Ray prints.
    """

    address: str | None
    cores: int
    patience: float
    log: Path
    say: Callable[[str], None]


class RayProcess:
    """A process of its own that talks to Ray. Raises InputError if the cluster cannot be used.

    server: the class that answers messages there, as module:name (see `driver`).
    """

    server = ""
    again = "it is made again"  # what is said of the work when the connection is lost

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.reconnects = 0
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
        answer: Any = None
        word, answer = self.receive(seconds) or ("refused", f"no answer for {seconds:.0f} s")
        if word == "refused":
            where = f"--address {self.cluster.address}" if self.cluster.address else "--on ray"
            fix = "is the address right, and RAY_AUTH_TOKEN that of the cluster?"
            raise InputError(f"{where}: Ray cannot be used here ({answer}); {fix}")
        self.check_room(answer)

    def check_room(self, nodes: list[int]) -> None:
        """InputError if the cluster is too small; nodes: the cores of each."""

    def reconnect(self, why: str) -> None:
        """Start the driver again, after its node was lost; ClusterLost if that is in vain."""
        self.reconnects += 1
        if self.reconnects >= TRIES:
            raise ClusterLost(why)
        self.cluster.say(f"{why}; {self.again}")
        self.end_driver(0)
        try:
            self.connect(self.cluster.patience)
        except InputError as error:
            raise ClusterLost(str(error)) from error

    def start_driver(self, descriptor: int) -> subprocess.Popen:
        """Start the process that talks to Ray; what that and its workers print goes into the log."""
        own = {"cores": self.cluster.cores, "store": STORE, "folder": self.folder}
        options = {"address": self.cluster.address, **own}
        module, _, name = self.server.partition(":")
        imports = f"from swingup.cluster.driver import main; from {module} import {name}"
        code = f"import sys; sys.path[:] = {sys.path!r}; {imports}; main({descriptor}, {options!r}, {name})"
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
            "RAY_worker_niceness": "0",  # by default 15: the learner waits for workers, beside other jobs too
        }
    )


def need_ray() -> None:
    """InputError if Ray is not installed; it is not imported here, but in a process of its own."""
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise InputError("--on ray: Ray is not installed; pip install 'swingup[ray]'")
