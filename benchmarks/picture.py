"""The README's moving picture: a trained pendulum that hangs, swings up and stands.

`python benchmarks/picture.py` trains Pendulum-v1 with its preset, plays one greedy episode from the hanging
position and writes docs/pendulum.gif. `--run RUN` takes the policy of a run that is there already.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

import swingup
from swingup.envs.rendering import headless

OUTPUT = Path(__file__).parent.parent / "docs" / "pendulum.gif"
MARGIN, SIZE, SHADES = 90, 300, 48  # pixels cut from each edge, pixels a side, colours
HANGING, STANDING, LAST = 8, 40, 200  # steps shown before the policy acts, once it stands, and at most
STEP = 50  # milliseconds of a step, which is real time for Pendulum-v1


def episode(policy: Any) -> Iterator[np.ndarray]:
    """The frames of one episode from rest at the bottom; raises RuntimeError if it never stands."""
    env = gymnasium.make("Pendulum-v1", render_mode="rgb_array", max_episode_steps=LAST)
    env.reset(seed=0)
    pendulum: Any = env.unwrapped
    pendulum.state, pendulum.last_u = np.array([np.pi, 0.0]), None
    for _ in range(HANGING):
        yield env.render()  # type: ignore[misc]
    obs, upright = np.array([-1.0, 0.0, 0.0], np.float32), 0
    for _ in range(LAST):
        obs, *_ = env.step(policy(obs))
        yield env.render()  # type: ignore[misc]
        upright = upright + 1 if obs[0] > 0.99 else 0
        if upright == STANDING:
            env.close()
            return
    raise RuntimeError(f"the pendulum did not stand for {STANDING} steps; train it with another seed")


def write(frames: list[np.ndarray], path: Path) -> None:
    """Frames as a looping GIF in one palette."""
    inner = slice(MARGIN, -MARGIN)
    images = [Image.fromarray(frame[inner, inner]).resize((SIZE, SIZE)) for frame in frames]
    palette = images[len(images) // 2].quantize(SHADES)
    shown = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=STEP, loop=0, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", type=Path, help="the folder of a run of Pendulum-v1; by default it is trained"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)
    wanted = parser.parse_args()
    headless()
    with tempfile.TemporaryDirectory() as folder:
        run = (
            swingup.load(wanted.run) if wanted.run else swingup.train("Pendulum-v1", run_dir=f"{folder}/run")
        )
        frames = list(episode(run.policy))
    write(frames, wanted.output)
    print(f"{wanted.output}: {len(frames)} frames, {wanted.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
