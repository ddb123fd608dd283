"""`swingup doctor`: what swingup runs on, whether it will work, and how fast it is here.

Whatever may crash, hang or print is done by a child process (`ask`), JAX included: a broken driver must not take its own
diagnosis down. `examine` gathers facts, `show` prints them, `dataclasses.asdict` makes them JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from swingup import __version__, runtime
from swingup.config import Config, apply, base, check, plan
from swingup.errors import InputError
from swingup.types import Spec

PACKAGES = (
    "jax", "jaxlib", "numpy", "optax", "gymnasium", "safetensors", "tyro", "rich", "tensorboard", "tensorboardX", "mujoco",
    "Box2D", "box2d-py", "av", "pygame-ce", "pygame", "jax-cuda12-plugin", "jax-cuda13-plugin",
)  # fmt: skip

# JAX's GPU extras, newest first: the oldest driver and the oldest compute capability that each runs on.
CUDA = {"cuda13": (580, 7.5), "cuda12": (525, 5.2)}

# Transitions in replay while measuring (its cost does not grow with the capacity), and updates in one block.
POOL, BLOCK = 4096, 50

# Load per core from which a measurement is not to be trusted; difference that counts as one.
BUSY, ALIKE = 0.5, 1.1

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Check:
    """One thing that was tried: ok, missing (optional, not there) or broken (there, but it fails); what was seen; the fix."""

    name: str
    state: State
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Machine:
    """The computer: cores are those this process may use, load is the average of the last minute (None where unknown)."""

    system: str
    python: str
    cpu: str
    cores: int
    load: float | None

    @property
    def busy(self) -> bool:
        return self.load is not None and self.load > BUSY * self.cores


@dataclass(frozen=True)
class Speed:
    """Median microseconds on one device: of a training iteration called by itself, as the host loop does (`learn.improve`),
    and of one update in a compiled block of them. threads is 0 where the device is not a CPU."""

    device: str
    threads: int
    iteration_us: float
    update_us: float

    @property
    def name(self) -> str:
        return f"{self.device}, {several(self.threads, 'thread')}" if self.threads else self.device


@dataclass(frozen=True)
class Report:
    """All that `examine` found. versions: None where not installed; works: whether training will run here."""

    works: bool
    machine: Machine
    versions: dict[str, str | None]
    devices: tuple[str, ...]
    checks: tuple[Check, ...]
    workload: str
    speeds: tuple[Speed, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True)
class Doctor:
    """Tell what swingup runs on, whether it works, and how fast it is here."""

    obs: int = 3
    """Numbers in an observation of the environment that you have in mind."""
    actions: int = 1
    """Numbers in its action."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers; by default those of the preset pendulum."""
    batch: int | None = None
    """Transitions in a minibatch; by default that of the preset pendulum."""
    seconds: float = 2.0
    """Time for the measurement, besides starting and compiling."""
    json: bool = False
    """The findings as one JSON line on stdout."""

    def settings(self) -> Config:
        """The settings to measure with; InputError where a flag is not usable."""
        for name, value in (("obs", self.obs), ("actions", self.actions)):
            if not 1 <= value <= 100_000:
                raise InputError(f"--{name} {value}: expected a number from 1 to 100000")
        if not 0 < self.seconds <= 600:
            raise InputError(f"--seconds {self.seconds}: expected a number above 0 up to 600")
        config = base("", "pendulum")
        hidden = config.hidden if self.hidden is None else self.hidden
        batch = config.batch if self.batch is None else self.batch
        return check(replace(config, hidden=hidden, action_layer=1, batch=batch, capacity=max(config.capacity, batch)))


def examine(obs: int, actions: int, config: Config, seconds: float) -> Report:
    """Look at everything and measure for `seconds`, with the network and minibatch of `config` on an environment of those sizes.

    Never raises for what it finds; nothing is looked up on the network. Takes some five seconds more than `seconds`.
    """
    machine, found = look(), versions()
    with ThreadPoolExecutor() as pool:
        pictures = [*pool.map(attempt, trials()), window()]
    counts = [config.threads, *({1, 2} - {config.threads})]
    answers = []
    for threads in counts:
        only = {} if threads == config.threads else {"JAX_PLATFORMS": "cpu"}
        settings = dataclasses.asdict(replace(config, threads=threads))
        # Without this JAX takes most of the GPU's memory, and fails where a training run holds it.
        env = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **only}
        answers.append(ask("compute", (obs, actions, settings, seconds / len(counts)), env, 120 + seconds))
    devices = tuple(answers[0].value["devices"]) if answers[0].value else ()
    speeds = tuple(Speed(**s) for a in answers if a.value for s in a.value["speeds"])
    essential = [packages(requirements(), version), engine(answers[0], found, os.environ)]
    graphics = gpu(devices, nvidia(), found, os.environ)
    return Report(
        works=all(c.state == "ok" for c in essential),
        machine=machine,
        versions=found,
        devices=devices,
        checks=(*essential, graphics, *pictures),
        workload=f"{several(obs, 'observation')}, {several(actions, 'action')}, "
        f"hidden layers {'-'.join(map(str, config.hidden))}, minibatch {config.batch}",
        speeds=tuple(sorted(speeds, key=lambda s: (s.threads, s.device))),
        advice=advise(speeds, config, machine),
    )


# Children


class Answer(NamedTuple):
    """What a child process said: a value, or why there is none."""

    value: Any
    error: str


def ask(function: str, args: Sequence[Any] = (), env: Mapping[str, str] | None = None, timeout: float = 60) -> Answer:
    """Call a function of this module in a child process. Arguments and value are JSON; seconds of `timeout`; never raises."""
    path = os.pathsep.join(os.path.abspath(p) for p in sys.path if p)
    settings = {**os.environ, **(env or {}), "PYTHONPATH": path, "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
    command = [sys.executable, "-m", "swingup.doctor", function, json.dumps(args)]
    try:
        with tempfile.TemporaryDirectory() as folder:  # MuJoCo leaves a log in the current one
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=folder, env=settings)
    except subprocess.TimeoutExpired:
        return Answer(None, f"no answer within {timeout:.0f} s")
    except OSError as error:
        return Answer(None, f"no process could be started: {error}")
    try:
        return Answer(*json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return Answer(None, brief(f"the process ended with {done.returncode} {last}"))


def reply(function: str, args: str) -> str:
    """The child's half of `ask`: call, and put the value or the error into one line of JSON."""
    try:
        return json.dumps(Answer(globals()[function](*json.loads(args)), ""))
    except Exception as error:
        return json.dumps(Answer(None, brief(f"{type(error).__name__}: {error}".removesuffix(": "))))


def brief(text: str) -> str:
    """One line of at most 200 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:199] + "…"


# Versions and the machine


def versions() -> dict[str, str | None]:
    """The version of swingup and of every package it may use, None where not installed. Nothing is imported for it."""
    return {"swingup": __version__, **{name: version(name) for name in PACKAGES}}


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def look() -> Machine:
    """The machine, as it is before anything is measured."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    load = None if sys.platform == "win32" else round(os.getloadavg()[0], 2)
    return Machine(platform.platform(terse=True), platform.python_version(), cpu_model(), cores, load)


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    text = info.read_text() if info.is_file() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def requirements() -> list[str]:
    """What swingup asks for, as its own metadata says; nothing where it runs from a folder without being installed."""
    return metadata.requires("swingup") or [] if version("swingup") else []


def packages(wanted: Sequence[str], have: Callable[[str], str | None]) -> Check:
    """Whether every package of the requirement lines is there (extras may be missing) and in a version that was asked for."""
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
    """Whether a version keeps limits like `>=1.1,<1.5`; other operators are taken to hold."""

    def numbers(text: str) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", text.partition("+")[0])]

    bounds = re.findall(r"(>=|<)\s*([\w.]+)", limits)
    return all((numbers(have) < numbers(b)) == (op == "<") for op, b in bounds)


# Devices


@dataclass(frozen=True)
class Nvidia:
    """An NVIDIA GPU as its driver tells: driver "" and capability 0 where unknown; reachable: this process may open it."""

    name: str
    driver: str
    capability: float
    reachable: bool


def output(command: Sequence[str]) -> str:
    """What a command prints, or nothing where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def nvidia(run: Callable[[Sequence[str]], str] = output, root: Path = Path("/")) -> Nvidia | None:
    """The first NVIDIA GPU that nvidia-smi or the kernel tells of, or None; JAX is not asked."""
    lines = run(["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]).splitlines()
    told = re.match(r"(.+?), *(\d+\.[\d.]+), *(\S+)", lines[0]) if lines else None
    if told:
        return Nvidia(told[1], told[2], float(told[3]) if re.fullmatch(r"\d+\.\d+", told[3]) else 0, True)
    file, node = root / "proc/driver/nvidia/version", (root / "dev/nvidia0").exists()
    text = file.read_text() if file.is_file() else ""
    if not (text or node):
        return None
    driver = re.search(r"\d{3,}\.\d+[.\d]*", text)
    return Nvidia("NVIDIA GPU", driver[0] if driver else "", 0, node)


def engine(answer: Answer, found: Mapping[str, str | None], environ: Mapping[str, str]) -> Check:
    """Whether JAX starts and trains, from what the child `compute` said."""
    if answer.value:
        return Check("JAX", "ok", f"computes on {counted(answer.value['devices'])}")
    if "No module named" in answer.error:
        return Check("JAX", "broken", answer.error, "pip install swingup")
    if environ.get("JAX_PLATFORMS"):
        return Check("JAX", "broken", f"with JAX_PLATFORMS={environ['JAX_PLATFORMS']}: {answer.error}", "unset JAX_PLATFORMS")
    return Check("JAX", "broken", answer.error, f"pip install --force-reinstall jax=={found['jax']} jaxlib=={found['jax']}")


def gpu(devices: Sequence[str], present: Nvidia | None, found: Mapping[str, str | None], environ: Mapping[str, str]) -> Check:
    """Whether JAX uses a GPU (devices: what it computes on), and where it leaves one unused, why and the line that changes it."""
    if any(d != "CPU" for d in devices):
        return Check("GPU", "ok", f"JAX uses {counted(devices)}")
    if present is None:
        return Check("GPU", "ok", "no GPU found; CPU it is")
    state: State = "broken" if any(found.get(f"jax-{extra}-plugin") for extra in CUDA) else "missing"
    why, fix = remedy(present, found, environ)
    driver = f", driver {present.driver}" if present.driver else ""
    return Check("GPU", state, f"{present.name}{driver}, unused: {why}", fix)


def remedy(present: Nvidia, found: Mapping[str, str | None], environ: Mapping[str, str]) -> tuple[str, str]:
    """Why JAX does not see a GPU that is there, and the line that mends it."""
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
    # An unknown driver gets the older of the two, which newer drivers run as well.
    driver = int(present.driver.partition(".")[0] or 525)
    for extra, (oldest, capability) in CUDA.items():
        if driver >= oldest and (present.capability or capability) >= capability and extra in (offered or CUDA):
            return extra
    return None


# Pictures, videos, windows


class Trial(NamedTuple):
    """A function of this module to call in a child if `module` is installed, what installs that and what repairs it."""

    name: str
    module: str
    call: tuple[str, Sequence[Any]]
    install: str
    repair: str


def trials() -> list[Trial]:
    """What is tried besides computing."""
    from swingup.video import MESA, display

    mesa = MESA if sys.platform == "linux" else "update the graphics driver"
    if display() or os.environ.get("MUJOCO_GL", "egl") != "egl":
        mesa = f"export MUJOCO_GL=egl, which needs: {mesa}"
    again = "pip install --force-reinstall"
    return [
        Trial("pictures", "pygame", ("draw", ["Pendulum-v1"]), "pip install pygame-ce", f"{again} pygame-ce"),
        Trial("MuJoCo", "mujoco", ("draw", ["InvertedPendulum-v5"]), "pip install 'swingup[mujoco]'", mesa),
        Trial("Box2D", "Box2D", ("draw", ["BipedalWalker-v3"]), "pip install 'swingup[box2d]'", f"{again} 'swingup[box2d]'"),
        Trial("video", "av", ("encode", []), "pip install av", f"{again} --no-cache-dir av"),
    ]


def attempt(trial: Trial) -> Check:
    """What became of a trial; never raises."""
    if util.find_spec(trial.module) is None:
        return Check(trial.name, "missing", f"{trial.module} is not installed", trial.install)
    answer = ask(*trial.call)
    return Check(trial.name, "broken", answer.error, trial.repair) if answer.error else Check(trial.name, "ok", answer.value)


def window() -> Check:
    """Whether a window can be opened to watch an episode."""
    from swingup.video import display

    if not display():
        return Check("window", "missing", "no display here: episodes cannot be watched live, videos can be made")
    answer = ask("open_display")
    if answer.error:
        return Check("window", "broken", answer.error, "check DISPLAY and SDL_VIDEODRIVER; over ssh, connect with ssh -X")
    return Check("window", "ok", answer.value)


def draw(env: str) -> str:
    """In a child: one frame of an environment; raises where there is none or nothing on it."""
    from swingup.video import headless

    headless()
    import gymnasium

    made = gymnasium.make(env, render_mode="rgb_array")
    made.reset(seed=0)
    frame: Any = made.render()
    if not np.std(frame):
        raise RuntimeError(f"the frame of {env} is blank")
    return f"{env} drawn, {frame.shape[1]} x {frame.shape[0]} pixels"


def encode() -> str:
    """In a child: three frames as H.264, in memory; raises where PyAV cannot."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream: Any = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for shade in (0, 127, 255):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8), "rgb24")))
        out.mux(stream.encode())
    return f"3 frames encoded as H.264, {file.tell():,} bytes"


def open_display() -> str:
    """In a child: the driver that windows would use; raises where there is none."""
    import pygame

    pygame.display.init()
    driver = pygame.display.get_driver()
    if driver in ("dummy", "offscreen"):
        raise RuntimeError(f"no display answers, SDL draws {driver}")
    return f"windows open through {driver}"


# Measurement


def compute(obs: int, actions: int, settings: dict[str, Any], seconds: float) -> dict[str, Any]:
    """In a child: JAX's devices by name, and a Speed (as a dictionary) for each kind of device and the CPU."""
    config = apply(Config(), settings, "doctor")
    runtime.prepare(config.threads)
    import jax

    devices = jax.devices()
    kinds = {name_of(d): d for d in reversed(devices)}
    with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS may exclude the CPU
        kinds.setdefault("CPU", jax.devices("cpu")[0])
    spec = Spec("", (obs,), (actions,), "float32", (-1.0,) * actions, (1.0,) * actions)
    speeds = []
    for name, device in kinds.items():
        times = measure(plan(replace(config, capacity=POOL), spec), device, seconds / len(kinds))
        speeds.append(dataclasses.asdict(Speed(name, config.threads if name == "CPU" else 0, *times)))
    return {"devices": [name_of(d) for d in devices], "speeds": speeds}


def name_of(device: Any) -> str:
    return "CPU" if device.platform == "cpu" else device.device_kind


def measure(plan: Any, device: Any, seconds: float) -> tuple[float, float]:
    """Median microseconds on a JAX device of one `learn.improve` called by itself, and of one update in a block of them."""
    import jax

    from swingup import agent as algorithm
    from swingup import learn, replay

    agent, layout = plan.agent, plan.agent.layout
    rows = np.random.default_rng(0).uniform(-1, 1, (-(-plan.capacity // plan.n), plan.n, layout.width)).astype(np.float32)
    layout.unpack(rows).discount[:], layout.unpack(rows).last[:] = 1, 0

    def start(key: Any) -> Any:
        state = learn.init(plan, key)
        return state._replace(replay=replay.add(state.replay, rows))

    with jax.default_device(device):
        state = jax.jit(start)(jax.random.key(0))
        batches = jax.device_put(np.resize(rows, (BLOCK, agent.delay, agent.batch, agent.n_step, layout.width)))
        improve = jax.jit(partial(learn.improve, plan), donate_argnums=0)

        def iteration() -> None:
            nonlocal state
            state, (_, metrics) = improve(state, rows[: plan.block])
            np.asarray(metrics)  # the host loop waits for them

        def update(learner: Any, batch: Any) -> Any:
            learner, metrics, _ = algorithm.update(agent, learner, replay.fold(layout, batch, agent.gamma), jax.random.key(0))
            return learner, metrics

        many = jax.jit(partial(jax.lax.scan, update), donate_argnums=0)

        def block() -> None:
            nonlocal state
            learner, metrics = many(state.learner, batches)
            state = state._replace(learner=learner)
            np.asarray(metrics.finite)

        return median(iteration, seconds / 2), median(block, seconds / 2) / (BLOCK * agent.delay)


def median(step: Callable[[], None], seconds: float) -> float:
    """Median microseconds of step(), called for that long; the first call, which compiles, is left out."""
    step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return round(1e6 * statistics.median(times), 1)


def several(n: int, word: str) -> str:
    return f"{n} {word}{'s' * (n != 1)}"


def counted(devices: Sequence[str]) -> str:
    """Names of devices, each once with its number."""
    return ", ".join(name if devices.count(name) == 1 else f"{devices.count(name)} x {name}" for name in dict.fromkeys(devices))


def advise(speeds: Sequence[Speed], config: Config, machine: Machine) -> tuple[str, ...]:
    """What to choose on this machine, in sentences."""
    if not speeds:
        return ()
    cpus = sorted((s for s in speeds if s.threads), key=lambda s: s.iteration_us)
    best = min(speeds, key=lambda s: s.iteration_us)
    words = []
    if machine.busy:
        words.append(
            f"The machine was busy (load {machine.load} on {several(machine.cores, 'core')}): measure again when it is not."
        )
    if cpus and len(cpus) < len(speeds):
        how = "put JAX_PLATFORMS=cpu before the command" if best.threads else "JAX does so by itself"
        words.append(f"Train on the {best.device}, the fastest here for environments that run in Python: {how}.")
    if len(cpus) > 1 and not machine.busy:
        times = cpus[-1].iteration_us / cpus[0].iteration_us
        counts = " and ".join(str(n) for n in sorted(c.threads for c in cpus))
        alike = f"On the CPU, {counts} threads are equally fast: leave --threads at {config.threads}."
        faster = f"On the CPU, choose --threads {cpus[0].threads}: {times:.1f} times as fast as {cpus[-1].threads}."
        words.append(alike if times < ALIKE else faster)
    rate = config.envs * 1e6 / best.iteration_us
    words.append(f"That is up to {rate:,.0f} environment steps a second, less the environment's own time.")
    return tuple(words)


# Printing


def show(report: Report, console: Any) -> None:
    """Print a report on a rich console, for a person; fits 80 columns."""
    from rich.columns import Columns
    from rich.padding import Padding
    from rich.text import Text

    def line(text: str, style: str = "", indent: int = 2) -> None:
        console.print(Padding(Text(text, style), (0, 0, 0, indent), expand=False))

    def section(title: str) -> None:
        console.print()
        line(title, "bold", 0)

    m = report.machine
    line(f"swingup {report.versions['swingup']} · Python {m.python} · {m.system}", "bold", 0)
    line(f"{m.cpu} · {several(m.cores, 'core')}{'' if m.load is None else f' · load {m.load:.1f}'}", indent=0)
    section("versions")
    names = [f"{name} {v}" for name, v in report.versions.items() if v and name != "swingup"]
    console.print(Padding(Columns(names, padding=(0, 3), column_first=True), (0, 0, 0, 2), expand=False))
    section("checks")
    show_checks(report.checks, console)
    section("speed")
    line(report.workload)
    show_speeds(report.speeds, console)
    section("advice")
    for sentence in report.advice:
        line(sentence)
    line("swingup will work here." if report.works else "swingup will not work before what is broken above is mended.", "bold")


def show_checks(checks: Sequence[Check], console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "missing": "yellow", "broken": "bold red"}
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    for c in checks:
        table.add_row(Text(c.state, styles[c.state]), c.name, Text(c.detail))
        if c.fix:
            table.add_row("", "", Text(f"→ {c.fix}", "cyan"))
    console.print(table)


def show_speeds(speeds: Sequence[Speed], console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    if not speeds:
        console.print(Text("  not measured: JAX does not work here", "red"))
        return
    table = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
    table.add_column("")
    table.add_column("training iteration", justify="right")
    table.add_column("update in a block", justify="right")
    for s in speeds:
        table.add_row(Text(s.name), f"{s.iteration_us:,.0f} µs", f"{s.update_us:,.0f} µs")
    console.print(table)


if __name__ == "__main__":
    print(reply(sys.argv[1], sys.argv[2]))
