"""A process of ours on some node of a cluster, and what it says. Imports neither JAX nor Ray.

What trains is a child of the process that Ray has started: it has the threads, signals and bytes of a run on
one machine, and it saves and ends when its parent is lost.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from swingup.errors import InputError
from swingup.storage import disk

POLL = 0.5  # seconds for which `Task.lines` listens
FREE = 120.0  # seconds that an earlier process may take to save and end, or a lost node to lose its locks


class Job(NamedTuple):
    """What a process does, and on what.

    call: Python code; lines: what it gets on stdin, as JSON; log: the file for what it prints; cores: how
    many it keeps busy; writes: the folder that only one process may write, if there is one; paths, folder:
    where it finds modules and files, as the process that trains does.
    """

    call: str
    lines: tuple[dict[str, Any], ...]
    log: str
    cores: int
    writes: str = ""
    paths: tuple[str, ...] = tuple(sys.path)
    folder: str = "."


class Task:
    """The process of a job on this node."""

    def __init__(self, job: Job):
        self.job = job

    def node(self) -> str:
        """The node's name. InputError if the folder of the job's log is not there."""
        name = socket.gethostname()
        if not (there := Path(self.job.log).parent).is_dir():
            fix = "put the run on a file system that all nodes share (--run-dir)"
            raise InputError(f"node {name} has no folder {there}; {fix}")
        return name

    def start(self) -> tuple[list[str], int | None]:
        """Start the process, when no other one writes in its folder; returns what `lines` does."""
        job = self.job
        if job.writes:
            wait_for(Path(job.writes))
        paths = [*sys.path, *(path for path in job.paths if path not in sys.path)]
        # One core for NumPy, as in a group on one machine; and Ray hides GPUs from a task that asks for none.
        variables = {"OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
        if threading.current_thread() is threading.main_thread():
            # Ray's processes ignore it, and exit codes of their children, and of those children's, are lost.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with open(job.log, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}; {job.call}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                process_group=0,
                cwd=job.folder if Path(job.folder).is_dir() else None,
                env=variables | os.environ,
            )
        self.said: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which `lines` says
            self.process.stdin.write("".join(json.dumps(line) + "\n" for line in job.lines).encode())
            self.process.stdin.flush()
        return [], None

    def listen(self) -> None:
        """Keep what the process says, and None at its end."""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                self.said.put(line.decode())
        self.said.put(None)

    def lines(self, stop: bool) -> tuple[list[str], int | None]:
        """What is said in half a second, and before since the last call; the exit code at the end.

        stop: ask the process to save and end.
        """
        if stop:
            self.process.terminate()
        found: list[str] = []
        until = time.monotonic() + POLL
        while (left := until - time.monotonic()) > 0:
            try:
                line = self.said.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                return found, self.process.wait()
            found.append(line)
        return found, None


def wait_for(folder: Path) -> None:
    """Wait until no process writes in a run's folder: one whose parent was lost saves, and ends."""
    until = time.monotonic() + FREE
    while True:
        try:
            os.close(disk.lock(folder))
            return
        except InputError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
