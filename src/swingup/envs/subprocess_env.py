"""N Gymnasium environments in worker processes of our own, healed where they fail.

A worker is a fresh interpreter (a fork of a parent in which JAX has threads may deadlock) that runs `serve`: it holds a
contiguous share of the environments as one GymEnv, which checks every value before it leaves the process. Both sides talk
over one socket in fixed-size records, a request to reset or step one environment and its answer (for 8 HalfCheetahs on 2
workers shared memory is within 6 %, a message for each environment a quarter slower). The parent keeps what brings each
environment back: its episode's seed and the actions since. So a worker that dies, hangs or raises is started again, its
episodes are played up to where they were, and the run goes on with the same bits. Needs a POSIX system.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import cloudpickle
import gymnasium
import numpy as np

from swingup.envs.api import Step
from swingup.envs.gym_env import GymEnv, told
from swingup.errors import EnvFault, InputError
from swingup.types import Spec

# What a request asks for, and how it went.
RESET, STEP = 0, 1
DONE, RAISED, BROKEN = 0, 1, 2

STARTING = 60.0  # seconds that starting a worker and beginning an episode may take beyond the deadline of a step
CLOSING = 0.9  # seconds that workers have to close their environments
DIFFER = "made again it has other spaces; let the function make the same each time"
TRIES = 3  # starts of one worker in a row, after which something else is wrong than an environment


class Lost(Exception):
    """A worker failed: what happened, and in which environment, where that is known."""

    def __init__(self, what: str, env: int | None = None):
        super().__init__(what)
        self.env = env


class WorkerEnv:
    """N Gymnasium environments in W processes; the same bits as a GymEnv of N, whatever W is and whatever fails.

    make: travels by cloudpickle, so lambdas and classes of a script or notebook do. Open files, locks, sockets and generators
    cannot; nor does it bring along ids that only the running script registered, or what the body of a class that it defines
    itself takes from the script: import that inside. Other modules are imported by the worker, from this process's sys.path.
    deadline: seconds that a worker's share of a step may take. report: called with one line for each restart and each episode
    given up; `faults` counts both.

    Raises InputError where the environments cannot be made, EnvFault where one breaks its contract or twice cannot begin an
    episode. An environment that fails twice at the same step, or that played again does not come to the same observation, has
    its episode truncated there: the last good observation, reward 0.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        n: int,
        workers: int,
        name: str | None = None,
        limit: int | None = None,
        deadline: float = 60.0,
        report: Callable[[str], None] = print,
    ):
        if workers < 1:
            raise InputError(f"environment workers: {workers} is too few; give 1 or more")
        self.n, self.deadline, self.report = n, deadline, report
        self.options = {"name": name, "limit": limit}
        self.make = packed(make, name)
        self.shares = [(int(s[0]), len(s)) for s in np.array_split(np.arange(n), min(workers, n))]
        self.edges = [first for first, _ in self.shares] + [n]
        self.workers: list[Worker] = []
        try:
            for w in range(len(self.shares)):
                self.workers.append(self.begin(w))
            specs = {worker.greeting() for worker in self.workers}
            if len(specs) > 1:
                raise InputError(f"environment {name or 'of your function'}: {DIFFER}")
        except Lost as lost:
            self.close()
            raise InputError(f"environment {name or 'of your function'}: while a worker process made it, {lost}") from None
        except BaseException:
            self.close()
            raise
        (self.spec,) = specs
        self.request, self.answer = records(self.spec)
        self.steps = 0
        self.faults = Counter(restarts=0, truncated=0)
        # What brings the environments back. An episode that cannot be is `lost`, until the environment is reset.
        self.seeds: list[int | None] = [None] * n
        self.begun = np.zeros(n, np.int64)
        self.journal = [bytearray() for _ in range(n)]
        self.obs = np.zeros((n, self.spec.obs_size), np.float32)
        self.lost: set[int] = set()

    def reset(self, seeds: Sequence[int | None]) -> np.ndarray:
        new = {i: int(seed) for i, seed in enumerate(seeds) if seed is not None}
        self.lost -= set(new)
        none = np.empty((0, *self.spec.action_shape))
        answers = self.exchange(np.concatenate([self.script(i, seed, none) for i, seed in new.items()])) if new else ()
        obs = np.empty((self.n, self.spec.obs_size), np.float32)
        for answer, (i, seed) in zip(answers, new.items(), strict=True):
            obs[i] = answer["obs"]
            self.enter(i, seed, b"", answer["obs"])
        return obs

    def step(self, action: np.ndarray) -> Step:
        asked = np.zeros(self.n, self.request)
        asked["kind"], asked["env"], asked["action"] = STEP, np.arange(self.n), self.spec.to_env(action)
        answers, live = np.zeros(self.n, self.answer), [i for i in range(self.n) if i not in self.lost]
        answers[live] = self.exchange(asked[live])
        for i in self.lost:
            answers[i] = (DONE, False, True, 0.0, self.obs[i])
        # Only now, when the whole step is there: an interrupted one has not happened.
        self.steps += 1
        self.obs = answers["obs"]
        for i, executed in enumerate(asked["action"]):
            self.journal[i] += executed.tobytes()
        return Step(*(answers[field].copy() for field in ("obs", "reward", "terminated", "truncated")))

    def replay(self, i: int, seed: int, actions: np.ndarray) -> np.ndarray:
        self.lost.discard(i)
        asked = self.script(i, seed, self.spec.to_env(actions))
        obs = self.exchange(asked, aloud=True)["obs"][-1].copy()
        self.enter(i, seed, asked["action"][1:].tobytes(), obs)
        return obs

    def close(self) -> None:
        self.stop()
        self.workers = []

    def stop(self) -> None:
        """End the processes within a second; what is asked next starts them again."""
        until = time.monotonic() + CLOSING
        for worker in self.workers:
            worker.hang_up()
        for worker in self.workers:
            worker.end(max(0.0, until - time.monotonic()))

    def enter(self, i: int, seed: int, executed: bytes, obs: np.ndarray) -> None:
        """Environment i is in a new episode, after these actions in its own units, and saw obs[O]."""
        self.seeds[i], self.journal[i] = seed, bytearray(executed)
        self.begun[i] += 1
        self.obs[i] = obs

    def script(self, i: int, seed: int, executed: np.ndarray, ago: int = 0) -> np.ndarray:
        """The requests [1 + T] that begin environment i's next episode, or one `ago`, and execute[T, *action_shape]."""
        asked = np.zeros(1 + len(executed), self.request)
        asked["kind"], asked["env"] = STEP, i
        asked["kind"][0], asked["seed"][0], asked["number"][0] = RESET, seed, self.begun[i] - ago
        asked["action"][1:] = executed
        return asked

    def exchange(self, asked: np.ndarray, aloud: bool = False) -> np.ndarray:
        """The answers to requests that are sorted by environment, whatever becomes of the workers meanwhile.

        aloud: a worker answers each request at once, with a deadline of its own, not all together. Answers for environments
        that are lost mean nothing.
        """
        if not self.workers:
            raise RuntimeError("the worker processes are closed; make a new WorkerEnv")
        bounds = np.searchsorted(asked["env"], self.edges)
        parts = [(w, slice(a, b)) for w, (a, b) in enumerate(pairwise(bounds)) if a < b]
        answers = np.zeros(len(asked), self.answer)
        try:
            for w, part in parts:
                self.workers[w].ask(asked[part], aloud)
            for w, part in parts:
                try:
                    self.hear(w, asked[part], answers[part], aloud)
                except Lost as lost:
                    self.heal(w, asked[part], answers[part], lost)
        except BaseException:
            self.stop()  # answers may be under way that would be taken for those to the next requests
            raise
        return answers

    def hear(self, w: int, asked: np.ndarray, answers: np.ndarray, aloud: bool) -> None:
        """Fill in the answers of worker w, or raise Lost, or EnvFault where an environment broke its contract."""
        size = 1 if aloud else len(asked)
        for k in range(0, len(asked), size):
            rows, seconds = answers[k : k + size], self.deadline + STARTING * bool(asked["kind"][k] == RESET)
            try:
                self.workers[w].read(rows, seconds)
                bad = np.flatnonzero(rows["kind"])
                what = self.workers[w].read_line(seconds) if bad.size else ""
            except Lost as lost:
                # Of a share that answers as one nobody knows who it was.
                envs = {int(i) for i in asked["env"][k : k + size]}
                if len(envs) > 1:
                    raise
                env = envs.pop()
                raise Lost(f"{self.where(env, bool(asked['kind'][k] == RESET))}: {lost}", env) from None
            if bad.size and rows["kind"][bad[0]] == BROKEN:
                raise EnvFault(what)
            if bad.size:
                raise Lost(what, int(asked["env"][k + bad[0]]))

    def heal(self, w: int, asked: np.ndarray, answers: np.ndarray, lost: Lost) -> None:
        """Start worker w again, play its episodes up to where they were and ask again, until all is answered or given up."""
        first, size = self.shares[w]
        who = f"worker {w} (environment{'s' * (size > 1)} {first}{f'-{first + size - 1}' * (size > 1)})"
        strikes: Counter[tuple[str, int | None]] = Counter()
        if lost.env is None:
            strikes.update(("step", int(i)) for i in asked["env"])
        phase = "step"
        while True:
            strikes[phase, lost.env] += 1
            self.faults["restarts"] += 1
            self.report(f"{who}, step {self.steps + 1}: {lost}; the worker is started again")
            self.blame(phase, strikes[phase, lost.env], asked, lost)
            self.workers[w].end(CLOSING)
            try:
                phase = "start"
                self.workers[w] = self.begin(w)
                if self.workers[w].greeting() != self.spec:
                    raise EnvFault(f"environment {self.spec.env}: {DIFFER}")
                phase = "replay"
                self.restore(w, {int(i) for i in asked["env"][asked["kind"] == RESET]})
                phase = "step"
                live = ~np.isin(asked["env"], list(self.lost))
                answers[live] = self.converse(w, asked[live])
                return
            except Lost as again:
                lost = again
            except InputError as error:
                lost = Lost(str(error))

    def blame(self, phase: str, strikes: int, asked: np.ndarray, lost: Lost) -> None:
        """Give an environment's episode up that failed twice at one step; EnvFault where there is no episode to give up."""
        if phase == "start" and strikes >= TRIES:
            raise EnvFault(f"environment {self.spec.env}: a worker cannot be started again, {lost}")
        if lost.env is None or strikes < 2:
            return
        if phase == "step" and (asked["kind"][asked["env"] == lost.env] == RESET).any():
            raise EnvFault(f"{lost}; it failed twice")
        self.lose(lost.env, f"{lost}; it failed twice")

    def lose(self, i: int, why: str) -> None:
        self.lost.add(i)
        self.faults["truncated"] += 1
        self.report(f"{why}, its episode is truncated")

    def restore(self, w: int, new: set[int]) -> None:
        """Play the running episodes of worker w up to where they were, but for those environments that begin a new one."""
        first, size = self.shares[w]
        scripts = []
        for i in range(first, first + size):
            if (seed := self.seeds[i]) is not None and i not in self.lost | new:
                executed = np.frombuffer(bytes(self.journal[i]), self.spec.action_dtype).reshape(-1, *self.spec.action_shape)
                scripts.append(self.script(i, seed, executed, ago=1))
        if not scripts:
            return
        answers = self.converse(w, np.concatenate(scripts))
        for script, end in zip(scripts, np.cumsum([len(s) for s in scripts]) - 1, strict=True):
            i = int(script["env"][0])
            # Bit for bit: an environment that depends on more than seed and actions must not pass for the one it was.
            if answers["obs"][end].tobytes() != self.obs[i].tobytes():
                self.lose(i, f"{self.where(i)}: played again it does not come to the same observation")

    def converse(self, w: int, asked: np.ndarray) -> np.ndarray:
        """The answers of worker w alone, one by one, so that it is known which environment fails."""
        answers = np.zeros(len(asked), self.answer)
        self.workers[w].ask(asked, aloud=True)
        self.hear(w, asked, answers, aloud=True)
        return answers

    def begin(self, w: int) -> Worker:
        first, size = self.shares[w]
        return Worker({"first": first, "n": size, **self.options}, self.make, self.deadline + STARTING)

    def where(self, i: int, reset: bool = False) -> str:
        """The place of environment i as GymEnv calls it: of the next reset, or of the next step of its episode."""
        executed = len(self.journal[i]) // (self.spec.action_size * np.dtype(self.spec.action_dtype).itemsize)
        return place_of(self.spec, i, self.begun[i] if reset else self.begun[i] - 1, 0 if reset else executed + 1)


class Worker:
    """The parent's side of one worker process; every wait has an end, in `seconds`. Raises Lost where the worker failed."""

    def __init__(self, share: dict, make: bytes, patience: float):
        self.patience = patience
        self.sock, theirs = socket.socketpair()
        watched, life = os.pipe()
        self.stream, self.life = self.sock.makefile("rb"), os.fdopen(life, "wb", 0)
        # sys.path before anything of ours is imported; a process group of its own, as Ctrl-C is the parent's alone.
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve({theirs.fileno()}, {watched})"
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), watched),
                process_group=0,
            )
        except OSError as error:
            self.hang_up()
            self.life.close()
            raise Lost(f"its process could not be started ({error.strerror})") from error
        finally:
            theirs.close()
            os.close(watched)
        self.send(json.dumps({**share, "bytes": len(make)}).encode() + b"\n" + make)

    def greeting(self) -> Spec:
        """What the worker's environments are like, or the InputError that says why it could not make them."""
        kind, said = self.read_line(self.patience)
        if kind != "spec":
            raise InputError(said)
        fields: dict[str, Any] = {field: tuple(value) if isinstance(value, list) else value for field, value in said.items()}
        return Spec(**fields)

    def ask(self, asked: np.ndarray, aloud: bool) -> None:
        self.send(np.array([len(asked), 1 if aloud else len(asked)], np.uint32).tobytes() + asked.tobytes())

    def send(self, data: bytes) -> None:
        """Send it all. A worker reads a message to its end before it answers, so the two never wait for each other."""
        try:
            self.sock.settimeout(self.patience)
            self.sock.sendall(data)
        except OSError:
            pass  # the worker is gone, or has hung since its last answer: reading says so, and how

    def read(self, rows: np.ndarray, seconds: float) -> None:
        """Fill rows[k] of answers."""
        try:
            self.sock.settimeout(seconds)
            if self.stream.readinto(rows.view(np.uint8).data) == rows.nbytes:
                return
        except OSError as error:
            raise Lost(self.fate(error)) from error
        raise Lost(self.fate())

    def read_line(self, seconds: float) -> Any:
        try:
            self.sock.settimeout(seconds)
            line = self.stream.readline()
        except OSError as error:
            raise Lost(self.fate(error)) from error
        if not line.endswith(b"\n"):
            raise Lost(self.fate())
        return json.loads(line)

    def fate(self, error: OSError | None = None) -> str:
        """What became of the worker, as far as the parent can know."""
        if isinstance(error, TimeoutError) and self.process.poll() is None:
            return f"no answer within {self.sock.gettimeout():g} s"
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "its process closed the connection"
        if code >= 0:
            return f"its process exited with code {code}"
        return f"its process was ended by signal {-code} ({signal.strsignal(-code)})"

    def hang_up(self) -> None:
        """Close the connection: a worker that waits closes its environments and exits."""
        self.stream.close()
        self.sock.close()

    def end(self, grace: float = 0.0) -> None:
        """The process is gone afterwards; until then it has `grace` seconds to go by itself."""
        self.hang_up()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.life.close()


class Share(GymEnv):
    """Environments first, first + 1, ... of all, called by their place among all."""

    first = 0

    def where(self, i: int) -> str:
        return place_of(self.spec, self.first + i, self.count[i, 0] - 1, self.count[i, 1])


def place_of(spec: Spec, i: int, episode: int, step: int) -> str:
    return f"environment {spec.env} [{i}], episode {episode}, step {step}"


def packed(make: Callable[[], gymnasium.Env], name: str | None) -> bytes:
    try:
        return cloudpickle.dumps(make)
    except Exception as error:
        raise InputError(
            f"environment {name or 'of your function'}: what makes it cannot travel to a worker process ({told(error)}); let the "
            "function open its files, locks and connections itself, or train without workers"
        ) from error


def records(spec: Spec) -> tuple[np.dtype, np.dtype]:
    """How a request and an answer lie in memory. number: of the episode that a reset begins, for error messages."""
    request = [("kind", "u1"), ("env", "u4"), ("seed", "i8"), ("number", "i8"), ("action", spec.action_dtype, spec.action_shape)]
    answer = [("kind", "u1"), ("terminated", "?"), ("truncated", "?"), ("reward", "f8"), ("obs", "f4", (spec.obs_size,))]
    return np.dtype(request), np.dtype(answer)


def serve(connection: int, life: int) -> None:
    """The life of a worker: make the environments, then answer requests until the connection closes."""
    obey(life)
    with socket.socket(fileno=connection) as sock, sock.makefile("rb") as stream:
        sock.set_inheritable(False)
        try:
            if order := stream.readline():
                answer_all(json.loads(order), stream, sock)
        except ConnectionError:
            pass  # the parent went in the middle of a message


def obey(life: int) -> None:
    """Live exactly as long as the parent wants, or lives."""
    # Ctrl-C and what a scheduler sends to every process of a job mean the parent. SIGTERM gets an empty handler and is not
    # ignored, as a simulator that an environment starts would inherit that and outlive its `terminate`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    # The parent holds the other end of this pipe. When it dies the kernel sends SIGIO, which on Linux ends this process
    # even where an environment hangs in C code and no Python runs. A thread could not, and PR_SET_PDEATHSIG would also fire
    # at the end of the parent's thread that started us.
    os.set_inheritable(life, False)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


def made(order: dict, pickled: bytes) -> Share:
    """The worker's environments, or the InputError that the parent is to raise."""
    name = order["name"] or "of your function"
    try:
        make = cloudpickle.loads(pickled)
    except Exception as error:
        raise InputError(
            f"environment {name}: what makes it cannot be rebuilt in a worker process ({told(error)}); let the function import "
            "what it needs, from sys.path"
        ) from error
    try:
        env = Share(make, order["n"], order["name"], order["limit"])
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"environment {name}: it could not be made in a worker process ({told(error)})") from error
    env.first = order["first"]
    return env


def answer_all(order: dict, stream: Any, sock: socket.socket) -> None:
    """Make what `order` says, then answer message after message until the connection closes."""
    try:
        env = made(order, stream.read(order["bytes"]))
    except InputError as error:
        sock.sendall(json.dumps(["error", str(error)]).encode() + b"\n")
        return
    sock.sendall(json.dumps(["spec", dataclasses.asdict(env.spec)]).encode() + b"\n")
    request, answer = records(env.spec)
    while len(head := stream.read(8)) == 8:
        count, size = (int(c) for c in np.frombuffer(head, np.uint32))
        asked = np.empty(count, request)
        if stream.readinto(asked.view(np.uint8).data) < asked.nbytes:
            break
        for k in range(0, count, size):
            sock.sendall(answered(env, asked[k : k + size], np.zeros(size, answer)))
    env.close()


def answered(env: Share, asked: np.ndarray, answers: np.ndarray) -> bytes:
    """The answers as bytes; the first that failed is the last of them, and a line follows that says how."""
    actions = asked["action"].copy()  # aligned and writable, as an environment may expect
    for k in range(len(asked)):
        if failed := answer_one(env, asked[k], actions[k], answers[k]):
            return answers.tobytes() + json.dumps(failed).encode() + b"\n"
    return answers.tobytes()


def answer_one(env: Share, asked: np.void, action: np.ndarray, answer: np.void) -> str | None:
    """Do what one request says, and fill in its answer; returns what failed, if something did."""
    i = int(asked["env"]) - env.first
    try:
        if asked["kind"] == RESET:
            env.count[i] = asked["number"], 0
            answer["obs"] = env.reset([int(asked["seed"]) if k == i else None for k in range(env.n)])[i]
        else:
            answer["obs"], answer["reward"], answer["terminated"], answer["truncated"] = env.step_one(i, action)
        return None
    except EnvFault as fault:
        # GymEnv raises from the environment's own exception; a fault without one is a broken contract.
        answer["kind"] = BROKEN if fault.__cause__ is None else RAISED
        return str(fault)
    except Exception as error:
        answer["kind"] = RAISED
        return f"{env.where(i)}: it raised {told(error)}"
