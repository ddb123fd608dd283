"""Durable file operations of a run: files that are flushed and whole, folders with one writer."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from swingup.errors import InputError

calls: Any = os  # a save's file operations go through this, so that a test can make any of them fail


class Damaged(Exception):
    """One line that names a file and what is wrong with it; `unsure` if the file may still be good."""

    def __init__(self, line: str, unsure: bool = False):
        super().__init__(line)
        self.unsure = unsure


def slurp(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; Damaged if it is anything else."""
    try:
        # Neither a symbolic link out of the folder nor a pipe that blocks: both would open like a file.
        fd = calls.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            about = calls.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise Damaged(f"{path}: not a regular file")
            if about.st_size > limit:
                raise Damaged(f"{path}: {about.st_size} bytes where at most {limit} belong")
            with open(fd, "rb", closefd=False) as file:
                return file.read(about.st_size)
        finally:
            calls.close(fd)
    except FileNotFoundError as error:
        raise Damaged(f"{path}: missing") from error
    except OSError as error:
        what = (
            "a symbolic link, not a file"
            if error.errno == errno.ELOOP
            else f"cannot be read ({error.strerror})"
        )
        raise Damaged(f"{path}: {what}", unsure=True) from error
    except MemoryError as error:
        raise Damaged(f"{path}: does not fit into memory") from error


def write(path: Path, data: Any) -> None:
    """Write a new file and flush it to the disk; OSError, with the path in it, if any byte is missing."""
    try:
        fd = calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            left = memoryview(data).cast("B")
            size = len(left)
            while left:  # a full disk may take a part first and refuse the rest only then
                done = calls.write(fd, left)
                if done <= 0:
                    raise OSError(errno.EIO, "nothing was written")
                left = left[done:]
            calls.fsync(fd)
            if calls.fstat(fd).st_size != size:
                raise OSError(errno.EIO, "short write")
        finally:
            calls.close(fd)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_all(file: Any, data: bytes) -> int:
    """Append data to an unbuffered file and return its size; OSError if the disk took only a part."""
    if file.write(data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
    return len(data)


def cut(path: Path, size: int) -> None:
    """Reduce a file to its first `size` bytes, which needs no space; a shorter one stays as it is."""
    if path.stat().st_size > size:
        os.truncate(path, size)


class WriteGuard:
    """Writes whose failures cost one warning, not the run; `guard(write, what)` returns whether it succeeded.

    lost: what was not saved when it was last tried, and why.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]):
        self.folder, self.warn, self.warned = folder, warn, False
        self.lost: dict[str, str] = {}

    def __call__(self, write: Callable[[], Any], what: str) -> bool:
        try:
            write()
        except (OSError, InputError, MemoryError) as error:
            self.lost[what] = str(getattr(error, "strerror", None) or error or type(error).__name__)
            if not self.warned:
                self.warned = True
                where = getattr(error, "filename", None) or self.folder
                self.warn(f"warning: {where}: {self.lost[what]}; not saved, training goes on")
            return False
        self.lost.pop(what, None)
        return True


def sync(folder: Path) -> None:
    """Flush a folder's names to the disk: until then a power cut may undo a rename."""
    fd = calls.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        calls.fsync(fd)
    finally:
        calls.close(fd)


def remove(path: Path) -> None:
    """Delete a folder and all in it, or a file; symbolic links are deleted, not followed."""
    if not stat.S_ISDIR(calls.lstat(path).st_mode):
        calls.unlink(path)
        return
    for name in calls.listdir(path):
        remove(path / name)
    calls.rmdir(path)


def lock(folder: Path) -> int:
    """Take the folder's lock, creating the folder if needed; InputError, naming the owner, if it is taken."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            sync(folder.parent)
        fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); choose a folder that you may write to"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} on {socket.gethostname()}".encode(), 0)
    except BlockingIOError as error:
        owner = re.fullmatch(r"pid [0-9]+ on [\w.-]*", os.pread(fd, 200, 0).decode(errors="replace"))
        os.close(fd)
        who = owner[0] if owner else "another process"
        raise InputError(
            f"{folder}: {who} is writing there; wait for it, stop it, or use another run folder"
        ) from error
    except OSError as error:
        os.close(fd)
        raise InputError(
            f"{folder}: cannot be locked ({error.strerror}); choose a folder on a local disk"
        ) from error
    return fd
