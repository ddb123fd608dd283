"""Worker processes, each of which trains whole runs from a queue, one after the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import cloudpickle
import gymnasium

from swingup.envs.registry import factory
from swingup.errors import InputError
from swingup.multiseed.status import SeedStatus
from swingup.runtime import accelerated
from swingup.training.signals import StopRequest


def packed(name: str, env: Any) -> str:
    """What a worker needs to make the environment, as text: `env`, and the registry's entry of an id.

    env: an object or a function; None for the id `name`, which a script may have registered for itself only.
    InputError if it cannot be pickled.
    """
    source = factory(env) if isinstance(env, gymnasium.Env) else env
    try:
        return cloudpickle.dumps((source, gymnasium.registry.get(name))).hex()
    except Exception as error:
        raise InputError(
            f"environment {name}: what makes it cannot travel to a process of its own for each seed "
            f"({type(error).__name__}: {error!s:.200}); let a function open its files and connections, "
            "or train one seed at a time"
        ) from error


Say = Callable[[SeedStatus, str], None]


class Pool(Protocol):
    """Trains seeds, each from the state of its folder."""

    def train(
        self, seeds: list[SeedStatus], order: dict[str, Any], stop: StopRequest, refresh: Callable[[], None]
    ) -> None:
        """Train all seeds in order, calling `refresh` ten times a second; a stop reaches every run once.

        order: what else each worker is sent (see `worker.attempt`).
        """


# Makes a pool that trains elsewhere, from: seeds at a time, threads of each, environment, folder, say.
PoolMaker = Callable[[int, int, str, Path, Say], Pool]


class ProcessPool:
    """A fixed number of worker processes.

    env: what environments are made from (see `packed`); log: the file for the workers' output; say: called
    with a seed and a line of its run.
    """

    def __init__(self, workers: int, env: str, log: Path, say: Say):
        self.env, self.log, self.say = env, log, say
        self.workers: list[Worker | None] = [None] * workers

    def train(
        self, seeds: list[SeedStatus], order: dict[str, Any], stop: StopRequest, refresh: Callable[[], None]
    ) -> None:
        """See `Pool.train`."""
        todo = deque(seeds)
        threads = [
            threading.Thread(target=self.work, args=(i, todo, order, stop)) for i in range(len(self.workers))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)
                    refresh()
                    if stop.interrupted:
                        self.each(lambda worker: worker.ask_to_stop())
        except BaseException:
            stop.signalled = True  # so that no thread starts another run
            raise
        finally:
            self.each(lambda worker: worker.kill())
            for thread in threads:
                thread.join()

    def each(self, do: Callable[[Worker], None]) -> None:
        """Call `do` with every worker that was started."""
        for worker in self.workers:
            if worker is not None:
                do(worker)

    def work(self, i: int, todo: deque[SeedStatus], order: dict[str, Any], stop: StopRequest) -> None:
        """Worker i's thread: one seed after the other; a dead worker process is replaced for the next."""
        while todo and not stop.interrupted:
            try:
                seed = todo.popleft()
            except IndexError:  # another thread was faster
                break
            seed.state = "starting"
            worker = self.workers[i]
            try:
                if worker is not None and worker.process.poll() is not None:
                    worker.kill()
                if worker is None or worker.process.poll() is not None:
                    worker = self.workers[i] = Worker(self.env, self.log)
                worker.train(seed, order, self.say)
            except OSError as error:
                seed.set_failed(error)
            if seed.state not in ("done", "failed", "stopped"):
                died = worker.process.wait() if worker else 0
                stopped = stop.interrupted or died == -signal.SIGTERM
                seed.update({"state": "stopped" if stopped else "failed", "speed": None})
                seed.error = "" if stopped else fate(died, self.log)


def fate(code: int, log: Path) -> str:
    """How a process ended, in words."""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"its process {how}; what it printed is in {log}"


class Worker:
    """The parent's side of one worker process."""

    def __init__(self, env: str, log: Path):
        self.asked_to_stop = False
        # sys.path is set before swingup is imported; in its own process group the worker gets no Ctrl-C.
        code = f"import sys; sys.path[:] = {sys.path!r}; from swingup.multiseed.worker import serve; serve()"
        # A worker has one core: a second thread for NumPy cost a tenth of a run's time, for the same bits.
        variables = {"OPENBLAS_NUM_THREADS": "1"}
        if accelerated():  # the first process would take three quarters of the GPU's memory for itself
            variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                process_group=0,
                text=True,
                env=variables | os.environ,
            )
        self.send({"env": env})

    def send(self, message: dict[str, Any]) -> None:
        """Write a message to the process, as a line of JSON."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the process died, which `train` notices when reading
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def train(self, seed: SeedStatus, order: dict[str, Any], say: Callable[[SeedStatus, str], None]) -> None:
        """Train a seed's run; returns when the run or the process has ended."""
        self.send({**order, "seed": seed.seed, "folder": str(seed.folder)})
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "say" in message:
                say(seed, message["say"])
                continue
            seed.update(message)
            if seed.state in ("done", "failed", "stopped"):
                return

    def ask_to_stop(self) -> None:
        """Ask the process to save and end; only once, because a second signal would end it at once."""
        if not self.asked_to_stop:
            self.asked_to_stop = True
            self.process.terminate()

    def kill(self) -> None:
        """End the process at once and close its pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
