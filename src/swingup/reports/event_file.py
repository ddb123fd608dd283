"""A TensorBoard event file, written in the caller's thread: no queue that a full disk could block."""

from __future__ import annotations

import socket
import struct
import time
from itertools import count
from pathlib import Path
from typing import Any

from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from swingup.storage.disk import cut, write_all

# The names of our own files end so: a callback may write others into the same folder.
SUFFIX = ".swingup"


class EventFile:
    """One process's event file in a run folder; every write is whole or raises OSError.

    later: events of this step and later that TensorBoard has read from earlier files are hidden.
    """

    def __init__(self, folder: Path, later: int | None = None):
        start = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        names = (f"{start}.{k:03d}{SUFFIX}" for k in count())
        self.path = next(path for name in names if not (path := folder / name).exists())
        self.file = self.path.open("xb", buffering=0)
        self.size = 0
        self.write(Event(file_version="brain.Event:2"))
        if later is not None:
            self.write(Event(session_log=SessionLog(status=SessionLog.START)), later)

    def write(self, event: Any, step: int = 0) -> None:
        """Append an event of this environment step (or episode)."""
        event.wall_time, event.step = time.time(), step
        data = event.SerializeToString()
        size = struct.pack("<Q", len(data))
        parts = size, struct.pack("<I", masked_crc32c(size)), data, struct.pack("<I", masked_crc32c(data))
        self.size += write_all(self.file, b"".join(parts))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Append a point of a curve."""
        self.write(Event(summary=summary.scalar(tag, value)), step)

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Append an entry of the Text tab."""
        self.write(Event(summary=summary.text(tag, text)), step)

    def close(self) -> None:
        self.file.close()


def cut_events(folder: Path, sizes: dict[str, int]) -> bool:
    """Reduce a run's event files to these sizes in bytes, and remove all others that swingup wrote.

    Returns whether there were any.
    """
    found = sorted(folder.glob(f"events.out.tfevents.*{SUFFIX}"))
    for path in found:
        if path.name in sizes:
            cut(path, sizes[path.name])
        else:
            path.unlink()
    return bool(found)
