"""How XLA is set up, before its first use: a pinned thread count and a cache of compiled programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def prepare(threads: int) -> None:
    """Pin XLA's CPU threads and switch its compilation cache on; call it before JAX computes anything.

    The number of threads decides the bits of a matrix product, so it is a setting of the run and not a property of
    the machine: 2 threads on one core give the same bytes as 2 threads on eight. XLA reads NPROC when its backend starts;
    where JAX has already computed something in this process, its thread count stays as it is.
    """
    if not started():
        os.environ["NPROC"] = str(threads)
    import jax

    if not (jax.config.values["jax_compilation_cache_dir"] or os.environ.get("SWINGUP_NO_CACHE")):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swingup" / "xla"
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        if not os.access(cache, os.W_OK):
            return
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def started() -> bool:
    """Whether JAX has chosen its devices and threads already."""
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()


def device_line(threads: int) -> str:
    """What this run computes on, in one line."""
    import jax

    device = jax.devices()[0]
    kind = f"CPU, {threads} thread{'s' if threads > 1 else ''}" if device.platform == "cpu" else device.device_kind
    return f"jax {jax.__version__} on {kind}"
