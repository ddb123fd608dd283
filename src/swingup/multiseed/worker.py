"""A worker process of a group: trains the runs that its parent process names, one after the other."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium

from swingup.multiseed.status import SeedConsole, SeedStatus, StatusCallback
from swingup.storage import trusted_modules


def serve() -> None:
    """Train the runs named on stdin, report on stdout (JSON lines); save and end when the parent is gone."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # an environment's output must not mix with messages
    lines = sys.stdin
    env, entry = cloudpickle.loads(bytes.fromhex(json.loads(lines.readline())["env"]))
    if entry is not None:
        gymnasium.registry.setdefault(entry.id, entry)
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def listen() -> None:
        for line in lines:
            orders.put(json.loads(line))
        orders.put(None)  # a run that is being trained takes the signal for itself: it saves and returns
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    while (order := orders.get()) is not None:
        trusted_modules.named.update(order["modules"])
        tell = lambda message: out.write(json.dumps(message) + "\n")
        seed = SeedStatus(order["seed"], Path(order["folder"]))
        attempt(seed, env, order, tell)
        tell(seed.row())


def attempt(seed: SeedStatus, env: Any, order: dict[str, Any], tell: Callable[[dict[str, Any]], Any]) -> None:
    """Train a seed's run from the state of its folder; its success or failure is recorded in `seed`."""
    from swingup.runs.run import Run
    from swingup.storage.run_folder import find_run, read_config
    from swingup.training.build import RunBuilder
    from swingup.training.options import Options
    from swingup.training.session import SeedContext, run_training

    console = SeedConsole(seed, lambda seed, text: tell({"say": text}))
    progress = StatusCallback(seed, lambda: tell(seed.row()))
    context = SeedContext(console, progress, None, RunBuilder.loop)
    try:
        folder = find_run(seed.folder)
        builder = RunBuilder(read_config(folder))
        options = Options(folder, quiet=True, record=order["record"], require_exact=order["exact"])
        source = Run(folder).env if env is None else env
        seed.set_ended(run_training(builder, source, options, order["command"], folder, context))
    except (Exception, KeyboardInterrupt) as error:
        seed.set_failed(error)
