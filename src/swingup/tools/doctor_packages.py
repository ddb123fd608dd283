"""Checks, without JAX, of packages and their versions, of the GPU and its driver, each with a fix."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from swingup import __version__
from swingup.tools.subprocess_call import Answer

PACKAGES = (
    "jax", "jaxlib", "numpy", "optax", "gymnasium", "safetensors", "rich", "tensorboard", "tensorboardX",
    "mujoco", "Box2D", "box2d-py", "av", "pygame-ce", "pygame", "jax-cuda12-plugin", "jax-cuda13-plugin",
)  # fmt: skip

# JAX's GPU extras, newest first: the oldest driver and the lowest compute capability that each supports.
CUDA = {"cuda13": (580, 7.5), "cuda12": (525, 5.2)}

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Check:
    """One check: ok, missing (optional, not there) or broken (there, but fails); what was found; the fix."""

    name: str
    state: State
    detail: str
    fix: str = ""


# Packages


def versions() -> dict[str, str | None]:
    """Versions of swingup and the packages it may use, None where not installed; imports none of them."""
    return {"swingup": __version__, **{name: version(name) for name in PACKAGES}}


def version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def requirements() -> list[str]:
    """The requirements in swingup's metadata; none where it runs from a folder without being installed."""
    return metadata.requires("swingup") or [] if version("swingup") else []


def packages(wanted: Sequence[str], have: Callable[[str], str | None]) -> Check:
    """Whether every required package is installed (extras may be missing), in a version that is allowed."""
    wrong = {}
    for line in wanted:
        needed = re.match(r"([\w.-]+)(?:\[.*?\])?\s*([^;\s]*)", line)
        name, limits = needed.groups() if needed else ("", "")
        installed = have(name)
        if installed and not fits(installed, limits):
            wrong[f"{name}{limits}"] = f"{name} is {installed}, swingup needs {limits}"
        elif not installed and ";" not in line:
            wrong[f"{name}{limits}"] = f"{name} is not installed"
    if not wrong:
        return Check("packages", "ok", "their versions are those that swingup asks for")
    return Check("packages", "broken", ", ".join(wrong.values()), f"pip install {' '.join(map(repr, wrong))}")


def fits(have: str, limits: str) -> bool:
    """Whether a version is inside limits like `>=1.1,<1.5`; other operators are assumed to hold."""

    def numbers(text: str) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", text.partition("+")[0])]

    bounds = re.findall(r"(>=|<)\s*([\w.]+)", limits)
    return all((numbers(have) < numbers(b)) == (op == "<") for op, b in bounds)


# Devices


@dataclass(frozen=True)
class Nvidia:
    """An NVIDIA GPU. driver, capability: "" and 0 where unknown; reachable: this process may open it."""

    name: str
    driver: str
    capability: float
    reachable: bool


def output(command: Sequence[str]) -> str:
    """What a command prints, or "" where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def nvidia(run: Callable[[Sequence[str]], str] = output, root: Path = Path("/")) -> Nvidia | None:
    """The first NVIDIA GPU that nvidia-smi or the kernel reports, or None; JAX is not asked."""
    lines = run(
        ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    ).splitlines()
    listed = re.match(r"(.+?), *(\d+\.[\d.]+), *(\S+)", lines[0]) if lines else None
    if listed:
        return Nvidia(
            listed[1], listed[2], float(listed[3]) if re.fullmatch(r"\d+\.\d+", listed[3]) else 0, True
        )
    file, node = root / "proc/driver/nvidia/version", (root / "dev/nvidia0").exists()
    text = file.read_text() if file.is_file() else ""
    if not (text or node):
        return None
    driver = re.search(r"\d{3,}\.\d+[.\d]*", text)
    return Nvidia("NVIDIA GPU", driver[0] if driver else "", 0, node)


def engine(answer: Answer, found: Mapping[str, str | None], environ: Mapping[str, str]) -> Check:
    """Whether JAX starts and trains, from the answer of `doctor_speed.compute` in a child process."""
    if answer.value:
        return Check("JAX", "ok", f"computes on {counted(answer.value['devices'])}")
    if "No module named" in answer.error:
        return Check("JAX", "broken", answer.error, "pip install swingup")
    if environ.get("JAX_PLATFORMS"):
        return Check(
            "JAX",
            "broken",
            f"with JAX_PLATFORMS={environ['JAX_PLATFORMS']}: {answer.error}",
            "unset JAX_PLATFORMS",
        )
    return Check(
        "JAX",
        "broken",
        answer.error,
        f"pip install --force-reinstall jax=={found['jax']} jaxlib=={found['jax']}",
    )


def gpu(
    devices: Sequence[str],
    present: Nvidia | None,
    found: Mapping[str, str | None],
    environ: Mapping[str, str],
) -> Check:
    """Whether JAX uses a GPU (devices: what it computes on); for an unused one, why, and the fix."""
    if any(d != "CPU" for d in devices):
        return Check("GPU", "ok", f"JAX uses {counted(devices)}")
    if present is None:
        return Check("GPU", "ok", "no GPU found; JAX uses the CPU")
    state: State = "broken" if any(found.get(f"jax-{extra}-plugin") for extra in CUDA) else "missing"
    why, fix = remedy(present, found, environ)
    driver = f", driver {present.driver}" if present.driver else ""
    return Check("GPU", state, f"{present.name}{driver}, unused: {why}", fix)


def remedy(present: Nvidia, found: Mapping[str, str | None], environ: Mapping[str, str]) -> tuple[str, str]:
    """Why JAX does not use a GPU that is there, and the command that changes it."""
    wanted = environ.get("JAX_PLATFORMS", "")
    if wanted and "cuda" not in wanted and "gpu" not in wanted:
        return f"JAX_PLATFORMS={wanted} hides it", "unset JAX_PLATFORMS"
    if environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it", "unset CUDA_VISIBLE_DEVICES"
    if not present.reachable:
        return "it is not passed into this container", "docker run --gpus all ..."
    if sys.platform == "win32":
        return "JAX has no GPU build for Windows", "install swingup in WSL2"
    extra = cuda(present)
    if extra is None:
        newest = next(iter(CUDA.values()))[0]
        return "its driver is too old for JAX", f"update the NVIDIA driver to {newest} or newer"
    pin = f"=={found['jax']}" if found["jax"] else ""
    line = f"pip install -U 'jax[{extra}]{pin}'"
    others = [f"jax-{e}-plugin" for e in CUDA if e != extra and found.get(f"jax-{e}-plugin")]
    if others:
        return f"it cannot run {others[0]}", f"pip uninstall -y {' '.join(others)} && {line}"
    if found.get(f"jax-{extra}-plugin") not in (None, found["jax"]):
        return f"jax-{extra}-plugin is {found[f'jax-{extra}-plugin']}, jax is {found['jax']}", line
    if found.get(f"jax-{extra}-plugin"):
        return "its plugin is installed and fails", line.replace("-U", "--force-reinstall")
    return "JAX is installed without its plugin", line


def cuda(present: Nvidia) -> str | None:
    """The newest of JAX's GPU extras that this GPU and driver can run and the installed JAX offers."""
    offered = metadata.metadata("jax").get_all("Provides-Extra") if version("jax") else None
    # An unknown driver gets the older extra, which newer drivers run as well.
    driver = int(present.driver.partition(".")[0] or 525)
    for extra, (oldest, capability) in CUDA.items():
        if (
            driver >= oldest
            and (present.capability or capability) >= capability
            and extra in (offered or CUDA)
        ):
            return extra
    return None


def counted(devices: Sequence[str]) -> str:
    """Names of devices, each once with its count."""
    return ", ".join(
        name if devices.count(name) == 1 else f"{devices.count(name)} x {name}"
        for name in dict.fromkeys(devices)
    )
