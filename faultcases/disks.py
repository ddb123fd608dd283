"""The disk taken away under every writer of a run: which file, when, in which loop, --quiet or not.

As a program, `disks.py FOLDER NAME...` runs these cases in one process and prints a line of JSON for each.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from faultcases import runs
from swingup.cli.main import run as cli
from swingup.loops import fused, host
from swingup.reports import event_file, video
from swingup.storage import checkpoint_reader, disk, run_folder, tables, text_file
from swingup.training import evaluator

SECONDS = 120  # after which a case counts as hanging
STEPS = 300
RESUMED = "settings of a resumed run"
WRITERS: dict[str, tuple[Any, str]] = {
    "events": (event_file, "write_all"),
    "tables": (tables, "write_all"),
    "checkpoint": (disk, "write"),
    "policy": (evaluator, "save_policy"),
    "result": (text_file, "write"),
    "video": (video.Movie, "add"),
    RESUMED: (run_folder, "write"),
}
# Writers without which a run has all that it needs to be resumed and opened again.
HARMLESS = ("events", "tables", "video", "stderr")
LOOPS = {"host": "Pendulum-v1", "fused": "native/Pendulum-v1"}


class Case(NamedTuple):
    """A way to lose the disk. when: the first call of the writer, or of the loop, that fails.

    0: from the start, also in other processes. size: if not None, the bytes to which the system limits every
    file from then on.
    """

    writer: str
    when: int
    loop: str = "host"
    quiet: bool = False
    group: str = ""
    size: int | None = None

    @property
    def name(self) -> str:
        words = [self.writer, f"from call {self.when}", self.loop, *(["quiet"] if self.quiet else [])]
        words += [f"files of {self.size} bytes"] if self.size is not None else []
        return ", ".join([*words, *([f"{self.group} group"] if self.group else [])])


def cases() -> Iterator[Case]:
    """All cases."""
    calls = {
        "events": (1, 3, 60), "tables": (1, 4), "checkpoint": (1, 9), "policy": (1, 3), "result": (1,)
    }  # fmt: skip
    for writer, numbers in calls.items():
        for k, when in enumerate(numbers):
            for loop in LOOPS:
                yield Case(writer, when, loop, quiet=(k + (loop == "fused")) % 2 == 1)
    yield from (Case("video", when, quiet=when > 1) for when in (1, 30))
    yield from (Case("stderr", 1, loop) for loop in LOOPS)
    yield Case(RESUMED, 1)
    for size in (0, 700, 20_000):
        for when, quiet in ((1, False), (150, True), (STEPS, False)):
            for loop in LOOPS:
                yield Case("every file", when, loop, quiet, size=size)
    for writer in ("events", "tables", "checkpoint", "policy"):
        yield Case(writer, 1, "fused", quiet=writer != "tables", group="vmap")
    yield from (Case("every file", 150, "fused", size == 0, "vmap", size) for size in (0, 20_000))
    yield from (Case("every file", 0, "host", quiet, "process", 5_000) for quiet in (False, True))


CASES = {case.name: case for case in cases()}


def failing(plain: Callable[..., Any], when: int) -> Callable[..., Any]:
    """The function, on a disk that is full from the call number `when` on."""
    calls: list[int] = []

    def write(*args: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) >= when:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(*args, **options)

    return write


def limiting(plain: Callable[..., Any], when: int, size: int) -> Callable[..., Any]:
    """The function; its call number `when` limits the size of every file before it is made."""
    calls: list[int] = []

    def step(*args: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == when:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return plain(*args, **options)

    return step


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def taken(case: Case) -> Iterator[None]:
    """Without the disk, from the case's call on."""
    with contextlib.ExitStack() as stack:
        put = lambda owner, name, value: stack.enter_context(mock.patch.object(owner, name, value))
        if case.size is not None:
            stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            loop = {"host": host.HostLoop, "fused": fused.FusedLoop}[case.loop]
            put(loop, "step", limiting(loop.step, case.when, case.size))
            if not case.when:
                resource.setrlimit(resource.RLIMIT_FSIZE, (case.size, resource.RLIM_INFINITY))
        elif case.writer in WRITERS:
            owner, name = WRITERS[case.writer]
            put(owner, name, failing(getattr(owner, name), case.when))
        yield


def attempt(case: Case, folder: Path) -> dict[str, Any]:
    """Run a case; what it said, its exit code, and the newest checkpoint's step (None without one)."""
    settings = runs.flags(steps=STEPS, warmup=100, capacity=150, every=100, evaluate=100)
    args = ["train", LOOPS[case.loop], *settings, "--run-dir", str(folder)]
    args += ["--seeds", "2", "--seeds-mode", case.group] if case.group else []
    args += ["--record"] if case.writer == "video" else []
    if case.writer == RESUMED:
        with contextlib.redirect_stdout(io.StringIO()):
            cli([*args, "--quiet"])
        args = ["resume", str(folder), "--steps", str(STEPS + 100)]
    out, err = io.StringIO(), Full() if case.writer == "stderr" else io.StringIO()
    with taken(case), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli([*args, *(["--quiet"] if case.quiet else [])])
    found = [newest(run) for run in (sorted(folder.glob("seed-*")) if case.group else [folder])]
    return {"case": case.name, "code": code, "out": out.getvalue(), "err": err.getvalue(), "newest": found}


def newest(folder: Path) -> int | None:
    """The step of a run's newest whole checkpoint; -1 if there are some, and none is whole."""
    if not (folder / "ckpt").is_dir() or not checkpoint_reader.steps(folder / "ckpt"):
        return None
    try:
        return checkpoint_reader.load(folder / "ckpt").step
    except checkpoint_reader.Unloadable:
        return -1


def verdict(found: dict[str, Any]) -> str:
    """What is wrong with the way a case ended; empty if nothing is."""
    case = CASES[found["case"]]
    if -1 in found["newest"]:
        return "no checkpoint is whole"
    if "return" not in found["out"] and not case.group:
        return f"no closing line: {found['err'][-200:]}"
    whole = all(step == STEPS + 100 * (case.writer == RESUMED) for step in found["newest"])
    if case.writer in HARMLESS:
        return "" if found["code"] == 0 and whole else f"exit {found['code']}, checkpoints {found['newest']}"
    if found["code"] == 0:
        return "" if whole else f"exit 0, checkpoints {found['newest']}"
    loud = "not saved: " in found["err"] and (whole or "checkpoint" in found["err"])
    return "" if found["code"] == 1 and loud else f"exit {found['code']}: {found['err'][-200:]}"


def run(folder: Path, names: list[str]) -> tuple[list[dict[str, Any]], str]:
    """Run cases in a process of their own; what each came to, and what the process said at its end."""
    command = [sys.executable, __file__, str(folder), *names]
    done = subprocess.run(command, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def main(where: str, *names: str) -> None:
    for k, name in enumerate(names):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        print(json.dumps(attempt(CASES[name], Path(where) / str(k))), flush=True)
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(*sys.argv[1:])
