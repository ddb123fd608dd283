"""Worker processes that train whole runs, fed from a queue: one process a core, one run after the other in each."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle

from swingup.multiseed.status import Member, Watch
from swingup.runtime import accelerated
from swingup.training.signals import Stop


class Pool:
    """So many workers. env: what environments are made from, where their settings do not say; log: the file for what they print;
    say: called with a member and a line of its run."""

    def __init__(self, workers: int, env: Any, log: Path, say: Callable[[Member, str], None]):
        self.env, self.log, self.say = env, log, say
        self.workers: list[Worker | None] = [None] * workers

    def train(self, members: list[Member], order: dict[str, Any], stop: Stop, look: Callable[[], None]) -> None:
        """Train them all, in their order, looking on ten times a second; a stop that is asked for reaches every worker once.

        order: what else each worker is to know (`serve`).
        """
        todo = deque(members)
        threads = [threading.Thread(target=self.work, args=(i, todo, order, stop)) for i in range(len(self.workers))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)
                    look()
                    if stop.asked:
                        self.each(lambda worker: worker.stop())
        except BaseException:
            stop.asked = True  # so that no thread begins another run
            raise
        finally:
            self.each(lambda worker: worker.kill())
            for thread in threads:
                thread.join()

    def each(self, do: Callable[[Worker], None]) -> None:
        for worker in self.workers:
            if worker is not None:
                do(worker)

    def work(self, i: int, todo: deque[Member], order: dict[str, Any], stop: Stop) -> None:
        """Worker i's thread: one member after the other; a worker that died is replaced for the next."""
        while todo and not stop.asked:
            try:
                member = todo.popleft()
            except IndexError:  # another thread was faster
                break
            member.state = "starting"
            worker = self.workers[i]
            try:
                if worker is not None and worker.process.poll() is not None:
                    worker.kill()
                if worker is None or worker.process.poll() is not None:
                    worker = self.workers[i] = Worker(self.env, self.log)
                worker.train(member, order, self.say)
            except OSError as error:
                member.failed(error)
            if member.state not in ("done", "failed", "stopped"):
                died = worker.process.wait() if worker else 0
                stopped = stop.asked or died == -signal.SIGTERM
                member.update({"state": "stopped" if stopped else "failed", "speed": None})
                member.error = "" if stopped else fate(died, self.log)


def fate(code: int, log: Path) -> str:
    """How a process ended, in words."""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"its process {how}; what it printed is in {log}"


class Worker:
    """The group's side of one worker process."""

    def __init__(self, env: Any, log: Path):
        self.told = False
        # sys.path before anything of ours is imported; a process group of its own, as Ctrl-C is the group's alone.
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        # A core is all that a worker has: NumPy's products in two threads cost a tenth of a run, for the same bits.
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
        self.send({"env": cloudpickle.dumps(env).hex()})

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died: reading tells
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def train(self, member: Member, order: dict[str, Any], say: Callable[[Member, str], None]) -> None:
        """Train a member's run; returns when it ended, or when the process did."""
        self.send({**order, "seed": member.seed, "folder": str(member.folder)})
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "say" in message:
                say(member, message["say"])
                continue
            member.update(message)
            if member.state in ("done", "failed", "stopped"):
                return

    def stop(self) -> None:
        """Ask it to save and to end; only once, as a second time would end it at once."""
        if not self.told:
            self.told = True
            self.process.terminate()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


# The worker's side


def serve() -> None:
    """Train the runs that stdin names, a line each; stdout tells how they go. Saves and ends where the group is gone."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an environment prints is no message
    lines = sys.stdin
    env = cloudpickle.loads(bytes.fromhex(json.loads(lines.readline())["env"]))
    orders: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in lines:
            orders.put(json.loads(line))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        order = orders.get()
        tell = lambda message: out.write(json.dumps(message) + "\n")
        member = Member(order["seed"], Path(order["folder"]))
        attempt(member, env, order, tell)
        tell(member.row())


class Teller:
    """A console whose lines are messages."""

    def __init__(self, tell: Callable[[dict[str, Any]], Any]):
        self.tell = tell

    def print(self, text: str) -> None:
        self.tell({"say": text})


def attempt(member: Member, env: Any, order: dict[str, Any], tell: Callable[[dict[str, Any]], Any]) -> None:
    """Train a member's run from where its folder stands; whatever happens, it is in the row."""
    from swingup.runs.run import Run
    from swingup.training.build import make_loop
    from swingup.training.options import Options
    from swingup.training.session import Within, ended, settings_of, stages

    within = Within(Teller(tell), Watch(member, lambda: tell(member.row())), None, make_loop)
    try:
        folder, config = settings_of(member.folder, None)
        options = Options(folder, quiet=True, record=order["record"], require_exact=order["exact"])
        source = Run(folder).env if env is None else env
        member.ended(ended(stages(config, source, options, order["command"], folder, within)))
    except (Exception, KeyboardInterrupt) as error:
        member.failed(error)
