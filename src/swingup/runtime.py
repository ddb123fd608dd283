"""Set-up of XLA before its first use (threads, cache of compiled programs), and facts about the machine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

# The XLA flag that keeps operations out of a GPU's programs whose results differ from run to run.
EXACT = "--xla_gpu_deterministic_ops=true"


def prepare(threads: int, exact: bool = False) -> None:
    """Set XLA's number of CPU threads and enable its compilation cache; call it before JAX computes anything.

    exact: use only operations that give the same bits each time on a GPU; on a CPU all do.

    The number of threads decides the bits of a matrix product, so it is a setting of the run and not a
    property of the machine: 2 threads on one core give the same bytes as 2 threads on eight. XLA reads NPROC
    when its backend starts; if JAX has already computed in this process, its thread count does not change.
    """
    if not started():
        os.environ["NPROC"], ASKED[:] = str(threads), [threads]
        if exact and accelerated() and EXACT not in (flags := os.environ.get("XLA_FLAGS", "")):
            os.environ["XLA_FLAGS"] = f"{flags} {EXACT}".strip()
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


def use_cpu() -> None:
    """Let JAX compute on the CPU, in this process and its children; call it before JAX computes anything."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")


def in_forked_children(restore: Callable[[], None]) -> None:
    """Call `restore` in every process that is forked from this one, before a signal is delivered to it."""
    held = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)

    def restore_and_release() -> None:
        restore()
        release()

    # A child that is terminated at once would otherwise lose the signal to the handlers that it inherits.
    hold = partial(signal.pthread_sigmask, signal.SIG_BLOCK, held)
    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=restore_and_release)


def accelerated() -> bool:
    """Whether JAX will use an accelerator, judged by JAX_PLATFORMS or its plugins without starting it."""
    from importlib.metadata import entry_points

    wanted = os.environ.get("JAX_PLATFORMS", "")
    if wanted:
        return wanted.split(",")[0] != "cpu"
    nvidia = Path("/dev/nvidiactl").exists()
    return any(nvidia or "cuda" not in plugin.name for plugin in entry_points(group="jax_plugins"))


def started() -> bool:
    """Whether JAX has already chosen its devices and threads."""
    if "jax" not in sys.modules:
        return False
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()


ASKED: list[int] = []  # the threads that `prepare` last asked for before JAX started


def threads_in_use(wanted: int) -> int:
    """The CPU threads that XLA has, or will have if JAX has not started yet and `prepare(wanted)` was called.

    A process in which JAX started before keeps the count of that time, whatever is asked for later.
    """
    if not started():
        return wanted
    if not ASKED:  # the user's own code has started it; a thread that begins has its name a little later
        names = []
        for path in Path("/proc/self/task").glob("*/comm"):
            with suppress(OSError):  # a thread that has just ended
                names.append(path.read_text().strip())
        ASKED.extend([n] if (n := names.count("tf_XLAEigen")) else [])
    return ASKED[0] if ASKED else wanted


def profile(threads: int) -> dict[str, Any]:
    """What a result's bits depend on besides seed and settings: machine, threads, versions, XLA flags."""
    import platform
    from importlib import metadata

    import jax

    versions = {}
    for name in ("jax", "jaxlib", "numpy", "optax", "gymnasium", "mujoco", "box2d"):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": cpu(),
        "device": jax.devices()[0].device_kind,
        "threads": threads_in_use(threads),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        **versions,
    }


def cpu() -> str:
    """The processor's name and a digest of its features, which decide the code that XLA generates."""
    import hashlib

    try:
        lines = dict(
            line.split(":", 1)
            for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
            if ":" in line
        )
    except OSError:
        return ""
    found = {k.strip(): v.strip() for k, v in lines.items()}
    features = " ".join(sorted(found.get("flags", found.get("Features", "")).split()))
    return f"{found.get('model name', 'unknown')} {hashlib.sha256(features.encode()).hexdigest()[:8]}"


def free_memory(root: Path = Path("/")) -> float:
    """Bytes that this process can still allocate: the machine's free memory, or what its containers leave."""
    free = [float("inf")]
    with suppress(OSError, StopIteration, ValueError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        free.append(int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]) * 1024)
    for limit, used in memory_limits(root):
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            free.append(int(limit.read_text()) - int(used.read_text()))
    return min(free)


def memory_limits(root: Path) -> Iterator[tuple[Path, Path]]:
    """The files of limit and use of each control group around this process, version 2 and version 1."""
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        groups = []
    mounted = root / "sys/fs/cgroup"
    for _, controllers, path in [("", "", "/"), *(g for g in groups if len(g) == 3)]:
        old = "memory" in controllers.split(",")
        if controllers and not old:
            continue
        top = mounted / "memory" if old else mounted
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
        )
        # A limit of any group above counts too; in a container the path may be that of the machine outside.
        here = top / path.strip("/")
        for folder in (here, *here.parents):
            if folder.is_relative_to(top):
                yield folder / names[0], folder / names[1]


def device_line(threads: int) -> str:
    """JAX's version and the device that this run computes on, in one line."""
    import jax

    device, used = jax.devices()[0], threads_in_use(threads)
    cpu = f"CPU, {used} thread{'s' if used > 1 else ''}"
    kind = cpu if device.platform == "cpu" else device.device_kind
    return f"jax {jax.__version__} on {kind}"
