"""A worker process of a sweep: trains trials of the folder that its parent names until none is left."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from swingup.errors import InputError


def serve() -> None:
    """Train the trials of the folder on stdin's first line, report on stdout (JSON lines).

    Saves and ends when stdin is closed, because then the parent is gone.
    """
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # an environment's output must not mix with messages
    order = json.loads(sys.stdin.readline())
    tell = lambda **message: out.write(json.dumps(message) + "\n")
    from swingup.cluster.study import SweepFolder
    from swingup.cluster.trial import work
    from swingup.storage import trusted_modules
    from swingup.training.signals import stop_on_signals

    def listen() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    trusted_modules.allow(order["env"])  # the parent has checked it
    trusted_modules.named.update(order["modules"])
    with stop_on_signals() as stop:
        threading.Thread(target=listen, daemon=True).start()
        try:
            work(SweepFolder(Path(order["folder"])), stop, lambda trial, text: tell(trial=trial, say=text))
        except InputError as error:
            tell(error=str(error))
    os._exit(0)  # `listen` still reads, and JAX's threads may take seconds to end
