"""N Gymnasium environments in worker processes, as a VectorEnv that restarts workers which fail.

A worker is a fresh interpreter (a fork of a parent in which JAX has threads may deadlock) that runs `serve`.
It holds a contiguous share of the environments as one GymEnv, which checks every value before it leaves the
process. Parent and worker exchange fixed-size records over one socket: a request to reset or step one
environment, and its answer (for 8 HalfCheetahs on 2 workers, shared memory differs by at most 6 % and one
message per environment is a quarter slower). To restore an environment, the parent keeps its episode's seed
and the actions since. A worker that dies, hangs or raises is restarted, its episodes are repeated up to where
they were, and the run continues with the same bits. Needs a POSIX system.
"""

from __future__ import annotations

import contextlib
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
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import cloudpickle
import gymnasium
import numpy as np

from swingup.envs.api import Replayed, Step
from swingup.envs.gym_env import GymEnv
from swingup.envs.gym_ids import describe_error
from swingup.envs.remarks import Remark, Remarks, ignore
from swingup.errors import EnvFault, InputError
from swingup.runtime import in_forked_children
from swingup.types import Spec

# The kinds of requests, and of answers.
RESET, STEP = 0, 1
DONE, RAISED, BROKEN, REMARKED = 0, 1, 2, 3

STARTING = 60.0  # seconds, beyond the deadline of a step, for starting a worker or an episode
CLOSING = 0.9  # seconds that workers have to close their environments
DIFFER = "made again it has other spaces; let the function make the same each time"
TRIES = 3  # failed starts of one worker after which EnvFault is raised


class Lost(Exception):
    """A worker failed: what happened, and in which environment if that is known."""

    def __init__(self, what: str, env: int | None = None):
        super().__init__(what)
        self.env = env


class SubprocessVectorEnv:
    """N Gymnasium environments in W processes; the same bits as a GymEnv of N, for every W and any failure.

    make: sent by cloudpickle, so lambdas and classes of a script or notebook work. Open files, locks, sockets
    and generators cannot be sent. Neither are ids that only the running script registered, nor what the body
    of a class that the script defines takes from the script: import those inside `make`. Other modules are
    imported by the worker, from this process's sys.path. deadline: seconds that a worker's share of a step
    may take. report: called with one line for each restart and each truncated episode; `faults` counts both.
    remark, pause: as in `GymEnv`.

    Raises InputError if the environments cannot be created, EnvFault if one breaks its interface or fails
    twice to start an episode. An environment that fails twice at the same step, or whose repeated episode
    leads to another observation or return, has its episode truncated there: the last good observation,
    reward 0.
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
        remark: Remark = ignore,
        pause: Callable[[], None] = lambda: None,
    ):
        if workers < 1:
            raise InputError(f"environment workers: {workers} is too few; give 1 or more")
        self.n, self.deadline, self.report, self.remark, self.pause = n, deadline, report, remark, pause
        self.options = {"name": name, "limit": limit}
        self.make = packed(make, name)
        self.shares = [(int(s[0]), len(s)) for s in np.array_split(np.arange(n), min(workers, n))]
        self.edges = [first for first, _ in self.shares] + [n]
        self.workers: list[Worker] = []
        try:
            for w in range(len(self.shares)):
                self.workers.append(self.start_worker(w))
            greetings = [worker.greeting() for worker in self.workers]
            specs = {greeting.spec for greeting in greetings}
            if len(specs) > 1:
                raise InputError(f"environment {name or 'of your function'}: {DIFFER}")
        except Lost as lost:
            self.close()
            raise InputError(
                f"environment {name or 'of your function'}: while a worker process made it, {lost}"
            ) from None
        except BaseException:
            self.close()
            raise
        (self.spec,), self.known_limit = specs, greetings[0].known_limit
        for topic, text in greetings[0].remarks:
            remark(topic, text)
        self.request, self.answer = records(self.spec)
        self.steps = 0
        self.faults = Counter(restarts=0, truncated=0)
        # What restores the environments. `lost`: those whose episode cannot be restored, until their reset.
        self.seeds: list[int | None] = [None] * n
        self.begun = np.zeros(n, np.int64)
        self.journal = [bytearray() for _ in range(n)]
        self.obs = np.zeros((n, self.spec.obs_size), np.float32)
        self.ret = np.zeros(n)
        self.lost: set[int] = set()

    def reset(self, seeds: Sequence[int | None]) -> np.ndarray:
        new = {i: int(seed) for i, seed in enumerate(seeds) if seed is not None}
        self.lost -= set(new)
        none = np.empty((0, *self.spec.action_shape))
        answers = (
            self.exchange(np.concatenate([self.script(i, seed, none) for i, seed in new.items()]))
            if new
            else ()
        )
        obs = np.empty((self.n, self.spec.obs_size), np.float32)
        for answer, (i, seed) in zip(answers, new.items(), strict=True):
            obs[i] = answer["obs"]
            self.enter(i, seed, b"", answer["obs"], 0.0)
        return obs

    def step(self, action: np.ndarray, active: np.ndarray | None = None) -> Step:
        chosen = range(self.n) if active is None else [int(i) for i in np.flatnonzero(active)]
        asked = np.zeros(self.n, self.request)
        asked["kind"], asked["env"], asked["action"] = STEP, np.arange(self.n), self.spec.to_env(action)
        answers, live = np.zeros(self.n, self.answer), [i for i in chosen if i not in self.lost]
        answers[live] = self.exchange(asked[live])
        for i in self.lost.intersection(chosen):
            answers[i] = (DONE, False, True, 0.0, np.nan, self.obs[i])
        # Recorded only when every answer is there: an interrupted step does not count.
        self.steps += 1
        for i in chosen:
            self.journal[i] += asked["action"][i].tobytes()
            self.obs[i] = answers["obs"][i]
            self.ret[i] += answers["reward"][i]
        return Step(*(answers[field].copy() for field in Step._fields))

    def restore_episode(self, i: int, seed: int, actions: np.ndarray) -> Replayed:
        self.lost.discard(i)
        asked = self.script(i, seed, self.spec.to_env(actions))
        answers = self.exchange(asked, aloud=True)
        self.enter(i, seed, asked["action"][1:].tobytes(), answers["obs"][-1], total(answers[1:]))
        each = answers[1:]
        return Replayed(
            answers["obs"].copy(), *(each[f].copy() for f in ("reward", "terminated", "truncated"))
        )

    def close(self) -> None:
        self.end_workers()
        self.workers = []

    def end_workers(self) -> None:
        """End the processes in less than a second; the next request starts them again."""
        until = time.monotonic() + CLOSING
        for worker in self.workers:
            worker.hang_up()
        for worker in self.workers:
            worker.end(max(0.0, until - time.monotonic()))

    def enter(self, i: int, seed: int, executed: bytes, obs: np.ndarray, ret: float) -> None:
        """Record that environment i runs an episode with this seed and is at obs[O] and the return `ret`.

        executed: the bytes of the actions since its start, in the environment's own units.
        """
        self.seeds[i], self.journal[i] = seed, bytearray(executed)
        self.begun[i] += 1
        self.obs[i], self.ret[i] = obs, ret

    def script(self, i: int, seed: int, executed: np.ndarray, ago: int = 0) -> np.ndarray:
        """The requests[1 + T] that start an episode of environment i and execute[T, *action_shape].

        ago: 0 to number it as the next episode, 1 as the current one.
        """
        asked = np.zeros(1 + len(executed), self.request)
        asked["kind"], asked["env"] = STEP, i
        asked["kind"][0], asked["seed"][0], asked["number"][0] = RESET, seed, self.begun[i] - ago
        asked["action"][1:] = executed
        return asked

    def exchange(self, asked: np.ndarray, aloud: bool = False) -> np.ndarray:
        """The answers to requests that are sorted by environment; workers that fail meanwhile are restarted.

        aloud: a worker answers each request at once, with a deadline of its own, instead of all together.
        Answers for lost environments are undefined.
        """
        if not self.workers:
            raise RuntimeError("the worker processes are closed; make a new SubprocessVectorEnv")
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
            self.end_workers()  # pending answers would be taken for those to the next requests
            raise
        return answers

    def hear(self, w: int, asked: np.ndarray, answers: np.ndarray, aloud: bool) -> None:
        """Fill in the answers of worker w; Lost if it failed, EnvFault if an environment is at fault."""
        size = 1 if aloud else len(asked)
        for k in range(0, len(asked), size):
            if aloud:
                self.pause()
            rows, seconds = answers[k : k + size], self.deadline + STARTING * bool(asked["kind"][k] == RESET)
            try:
                self.workers[w].read(rows, seconds)
                bad = np.flatnonzero(rows["kind"])
                what: Any = self.workers[w].read_line(seconds) if bad.size else ""
                if bad.size and rows["kind"][bad[0]] == REMARKED:
                    rows["kind"] = DONE
                    bad = bad[:0]
                    for topic, text in what:
                        self.remark(topic, text)
            except Lost as lost:
                # A share that answers together does not tell which environment failed.
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
        """Restart worker w, repeat its episodes and ask again, until all is answered or given up."""
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
                self.workers[w] = self.start_worker(w)
                if self.workers[w].greeting().spec != self.spec:
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
        """Truncate the episode of an environment that failed twice at one step.

        EnvFault if it has no episode to truncate, or if the worker cannot be started.
        """
        if phase == "start" and strikes >= TRIES:
            raise EnvFault(f"environment {self.spec.env}: a worker cannot be started again, {lost}")
        if lost.env is None or strikes < 2:
            return
        if phase == "step" and (asked["kind"][asked["env"] == lost.env] == RESET).any():
            raise EnvFault(f"{lost}; it failed twice")
        self.lose(lost.env, f"{lost}; it failed twice")

    def lose(self, i: int, why: str) -> None:
        """Mark environment i as lost, so that its episode is truncated; counted and reported."""
        self.lost.add(i)
        self.faults["truncated"] += 1
        self.report(f"{why}, its episode is truncated")

    def restore(self, w: int, new: set[int]) -> None:
        """Repeat the running episodes of worker w, except where an environment in `new` starts another."""
        first, size = self.shares[w]
        scripts = []
        for i in range(first, first + size):
            if (seed := self.seeds[i]) is not None and i not in self.lost | new:
                executed = np.frombuffer(bytes(self.journal[i]), self.spec.action_dtype).reshape(
                    -1, *self.spec.action_shape
                )
                scripts.append(self.script(i, seed, executed, ago=1))
        if not scripts:
            return
        answers = self.converse(w, np.concatenate(scripts))
        for again in np.split(answers, np.cumsum([len(s) for s in scripts])[:-1]):
            i = int(scripts.pop(0)["env"][0])
            # Bit for bit: an environment that depends on more than seed and actions is not restored.
            if again["obs"][-1].tobytes() != self.obs[i].tobytes() or total(again[1:]) != self.ret[i]:
                what = "played again it does not come to the same observation and return"
                self.lose(i, f"{self.where(i)}: {what}")

    def converse(self, w: int, asked: np.ndarray) -> np.ndarray:
        """The answers of worker w, one by one, so that a failure names its environment."""
        answers = np.zeros(len(asked), self.answer)
        self.workers[w].ask(asked, aloud=True)
        self.hear(w, asked, answers, aloud=True)
        return answers

    def start_worker(self, w: int) -> Worker:
        """Start the process of worker w."""
        first, size = self.shares[w]
        return Worker({"first": first, "n": size, **self.options}, self.make, self.deadline + STARTING)

    def where(self, i: int, reset: bool = False) -> str:
        """The place of environment i as GymEnv gives it: its next reset, or the next step of its episode."""
        executed = len(self.journal[i]) // (self.spec.action_size * np.dtype(self.spec.action_dtype).itemsize)
        return place_of(
            self.spec, i, self.begun[i] if reset else self.begun[i] - 1, 0 if reset else executed + 1
        )


class Greeting(NamedTuple):
    """What a worker says of its environments: their Spec, their time limit if it is known, and remarks."""

    spec: Spec
    known_limit: int | None
    remarks: list[tuple[str, str]]


class Worker:
    """The parent's side of a worker process; every wait has a time limit. Raises Lost if the worker fails."""

    def __init__(self, share: dict, make: bytes, patience: float):
        self.patience = patience
        self.sock, theirs = socket.socketpair()
        watched, life = os.pipe()
        self.stream, self.life = self.sock.makefile("rb"), os.fdopen(life, "wb", 0)
        # sys.path is set before swingup is imported. Its own process group: Ctrl-C is for the parent alone.
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; "
            f"serve({theirs.fileno()}, {watched})"
        )
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

    def greeting(self) -> Greeting:
        """What the worker says of its environments; InputError with the reason if it could not make them."""
        kind, *said = self.read_line(self.patience)
        if kind != "spec":
            raise InputError(said[0])
        return Greeting(Spec.of_json(said[0]), *said[1:])

    def ask(self, asked: np.ndarray, aloud: bool) -> None:
        """Send requests; aloud: to be answered one by one instead of together."""
        self.send(np.array([len(asked), 1 if aloud else len(asked)], np.uint32).tobytes() + asked.tobytes())

    def send(self, data: bytes) -> None:
        """Send all of `data`.

        A worker reads a message to its end before it answers, so the two never wait for each other.
        """
        try:
            self.sock.settimeout(self.patience)
            self.sock.sendall(data)
        except OSError:
            pass  # the worker died or hangs: the next read reports it

    def read(self, rows: np.ndarray, seconds: float) -> None:
        """Fill rows[k] with answers."""
        try:
            self.sock.settimeout(seconds)
            if self.stream.readinto(rows.view(np.uint8).data) == rows.nbytes:
                return
        except OSError as error:
            raise Lost(self.fate(error)) from error
        raise Lost(self.fate())

    def read_line(self, seconds: float) -> Any:
        """The value of one line of JSON from the worker."""
        try:
            self.sock.settimeout(seconds)
            line = self.stream.readline()
        except OSError as error:
            raise Lost(self.fate(error)) from error
        if not line.endswith(b"\n"):
            raise Lost(self.fate())
        return json.loads(line)

    def fate(self, error: OSError | None = None) -> str:
        """How the worker failed, as far as the parent can know."""
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
        """End the process and all that it forked; killed if it has not exited by itself after `grace` s."""
        self.hang_up()
        until = time.monotonic() + grace
        while self.running() and time.monotonic() < until:
            time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.life.close()

    def running(self) -> bool:
        """Whether the process has not exited.

        It is not reaped here: until then no stranger can get its number, which is also that of its group.
        """
        if self.process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None


class Share(GymEnv):
    """A worker's share of the environments, starting at index `first` of all; errors use these indices."""

    first = 0
    remarks: Remarks

    def where(self, i: int) -> str:
        return place_of(self.spec, self.first + i, self.count[i, 0] - 1, self.count[i, 1])


def total(answers: np.ndarray) -> float:
    """The return of an episode's steps, summed in their order as `step` does."""
    return float(answers["reward"].cumsum()[-1]) if len(answers) else 0.0


def place_of(spec: Spec, i: int, episode: int, step: int) -> str:
    """The place of a failure, for error messages."""
    return f"environment {spec.env} [{i}], episode {episode}, step {step}"


def packed(make: Callable[[], gymnasium.Env], name: str | None) -> bytes:
    """The bytes of `make` by cloudpickle; InputError if it cannot be pickled."""
    try:
        return cloudpickle.dumps(make)
    except Exception as error:
        raise InputError(
            f"environment {name or 'of your function'}: what makes it cannot travel to a worker process "
            f"({describe_error(error)}); let the function open its files, locks and connections "
            "itself, or train without workers"
        ) from error


def records(spec: Spec) -> tuple[np.dtype, np.dtype]:
    """The dtypes of a request and an answer. number: of the episode that a reset starts, for messages."""
    request = [
        ("kind", "u1"),
        ("env", "u4"),
        ("seed", "i8"),
        ("number", "i8"),
        ("action", spec.action_dtype, spec.action_shape),
    ]
    answer = [
        ("kind", "u1"),
        ("terminated", "?"),
        ("truncated", "?"),
        ("reward", "f8"),
        ("success", "f8"),
        ("obs", "f4", (spec.obs_size,)),
    ]
    return np.dtype(request), np.dtype(answer)


def serve(connection: int, life: int) -> None:
    """The main function of a worker: create the environments, then answer until the connection closes."""
    obey(life)
    with socket.socket(fileno=connection) as sock, sock.makefile("rb") as stream:
        sock.set_inheritable(False)
        in_forked_children(partial(forked, stream, sock))
        try:
            if order := stream.readline():
                answer_all(json.loads(order), stream, sock)
        except ConnectionError:
            pass  # the parent ended in the middle of a message


def forked(stream: Any, sock: socket.socket) -> None:
    """Make a process that an environment forks an ordinary one: `terminate` ends it, and it does not keep
    the connection open."""
    stream.close()
    sock.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


def obey(life: int) -> None:
    """Ignore the signals meant for the parent, and end when the parent dies."""
    # Ctrl-C and a scheduler's signals to all processes of a job are for the parent. SIGTERM gets an empty
    # handler: a simulator started by an environment would inherit an ignored one and outlive its `terminate`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    # The parent holds the other end of this pipe. When it dies the kernel sends SIGIO to this process's
    # group, which holds all that it forked. On Linux that ends them even while an environment hangs in C
    # code and no Python runs. A thread could not, and PR_SET_PDEATHSIG would also fire at the end of the
    # parent's thread that started this process.
    os.set_inheritable(life, False)
    fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


def made(order: dict, pickled: bytes) -> Share:
    """Create the worker's environments; InputError, for the parent to raise, if that fails."""
    name = order["name"] or "of your function"
    try:
        make = cloudpickle.loads(pickled)
    except Exception as error:
        raise InputError(
            f"environment {name}: what makes it cannot be rebuilt in a worker process "
            f"({describe_error(error)}); let the function import what it needs, from sys.path"
        ) from error
    try:
        remarks = Remarks()
        env = Share(make, order["n"], order["name"], order["limit"], remarks)
        env.remarks = remarks
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"environment {name}: it could not be made in a worker process ({describe_error(error)})"
        ) from error
    env.first = order["first"]
    return env


def answer_all(order: dict, stream: Any, sock: socket.socket) -> None:
    """Create the environments that `order` describes, then answer messages until the connection closes."""
    try:
        env = made(order, stream.read(order["bytes"]))
    except InputError as error:
        sock.sendall(json.dumps(["error", str(error)]).encode() + b"\n")
        return
    greeting = ["spec", dataclasses.asdict(env.spec), env.known_limit, env.remarks.taken()]
    sock.sendall(json.dumps(greeting).encode() + b"\n")
    request, answer = records(env.spec)
    while len(sizes := stream.read(8)) == 8:
        count, size = (int(c) for c in np.frombuffer(sizes, np.uint32))
        asked = np.empty(count, request)
        if stream.readinto(asked.view(np.uint8).data) < asked.nbytes:
            break
        for k in range(0, count, size):
            sock.sendall(answered(env, asked[k : k + size], np.zeros(size, answer)))
    try:
        env.close()
    except EnvFault as fault:
        if env.first == 0:  # one line for all workers
            print(f"swingup: warning: {fault}; everything else is done and kept", file=sys.stderr)


def answered(env: Share, asked: np.ndarray, answers: np.ndarray) -> bytes:
    """The answers as bytes.

    After a failure the remaining requests are skipped, and a line of JSON with the error follows the answers.
    So does a line with new remarks, where nothing failed.
    """
    actions = asked["action"].copy()  # aligned and writable, as an environment may expect
    for k in range(len(asked)):
        if failed := answer_one(env, asked[k], actions[k], answers[k]):
            return answers.tobytes() + json.dumps(failed).encode() + b"\n"
    if env.remarks.waiting:
        answers[-1]["kind"] = REMARKED
        return answers.tobytes() + json.dumps(env.remarks.taken()).encode() + b"\n"
    return answers.tobytes()


def answer_one(env: Share, asked: np.void, action: np.ndarray, answer: np.void) -> str | None:
    """Execute one request and fill in its answer; returns the error message if it failed."""
    i = int(asked["env"]) - env.first
    try:
        if asked["kind"] == RESET:
            env.count[i] = asked["number"], 0
            answer["obs"] = env.reset([int(asked["seed"]) if k == i else None for k in range(env.n)])[i]
        else:
            stepped: tuple[Any, ...] = env.step_one(i, action)
            for name, value in zip(Step._fields, stepped, strict=True):
                answer[name] = value
        return None
    except EnvFault as fault:
        # GymEnv raises from the environment's own exception; a fault without one is a broken contract.
        answer["kind"] = BROKEN if fault.__cause__ is None else RAISED
        return str(fault)
    except Exception as error:
        answer["kind"] = RAISED
        return f"{env.where(i)}: it raised {describe_error(error)}"
