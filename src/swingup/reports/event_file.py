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
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.record_writer import masked_crc32c

from swingup.storage.disk import cut, write_all

# SummaryMetadata's field 4, data_class, with the value 1: a scalar. tensorboardX does not know the field, and
# TensorBoard's data server drops the description of a scalar without it.
SCALAR = bytes([4 << 3, 1])

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
        self.described: set[str] = set()
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

    def scalar(self, tag: str, value: float, step: int, about: str = "") -> None:
        """Append a point of a curve; about: what the curve means, kept with its first point in this file."""
        point = Summary.Value(tag=tag, simple_value=value)
        if about and tag not in self.described:
            self.described.add(tag)
            plugin = SummaryMetadata.PluginData(plugin_name="scalars")
            point.metadata.CopyFrom(SummaryMetadata(summary_description=about, plugin_data=plugin))
            point.metadata.MergeFromString(SCALAR)
        self.write(Event(summary=Summary(value=[point])), step)

    def settings(self, values: dict[str, Any], metric: str) -> None:
        """Append a run's settings for the HParams tab, beside the last point of the curve `metric`."""
        for part in summary.hparams(values, {metric: None}):
            self.write(Event(summary=part))

    def picture(self, tag: str, data: bytes, size: tuple[int, int], step: int) -> None:
        """Append an encoded picture (PNG, GIF ...) of this width and height in pixels."""
        image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=data)
        self.write(Event(summary=Summary(value=[Summary.Value(tag=tag, image=image)])), step)

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
