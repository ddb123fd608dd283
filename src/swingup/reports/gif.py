"""A video as a small animated GIF, which is what TensorBoard's Images tab plays."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

from swingup.reports.video import pyav

# The most frames and pixels in a row: about half a megabyte.
FRAMES, WIDTH = 100, 240


def gif(path: Path) -> tuple[bytes, tuple[int, int]]:
    """An MP4 file as a GIF of the same duration, with its width and height; OSError if it has no frame."""
    from PIL.Image import Image

    pictures: list[Image] = []
    every = 1
    with pyav().open(str(path)) as video:
        stream = video.streams.video[0]
        rate = stream.average_rate or Fraction(30)
        every = max(1, -(-(stream.frames or 1) // FRAMES))
        for k, frame in enumerate(video.decode(stream)):
            if k % every == 0:
                picture = frame.to_image()
                picture.thumbnail((WIDTH, picture.height))
                pictures.append(picture)
    if not pictures:
        raise OSError(f"{path}: a video without frames")
    out = io.BytesIO()
    # Browsers show no frame shorter than 20 ms.
    shown = max(20, round(1000 * every / rate))
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=shown, loop=0)
    return out.getvalue(), pictures[0].size
