"""`swingup doctor`: what swingup runs on, whether it will work, and how fast it is on this machine.

Whatever may crash, hang or print runs in a child process (`subprocess_call.ask`), JAX included: a broken
driver must not stop the diagnosis. `examine` gathers facts, `show` prints them, `asdict` makes them JSON.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swingup.config.presets import base
from swingup.tools.doctor_graphics import attempt, trials, window
from swingup.tools.doctor_packages import (
    Check,
    engine,
    gpu,
    nvidia,
    packages,
    requirements,
    version,
    versions,
)
from swingup.tools.doctor_speed import UNDIVIDED, Speed, several
from swingup.tools.subprocess_call import Answer, ask
from swingup.training.build import RunBuilder

# Load per core above which a measurement is unreliable; factor below which two speeds count as equal.
BUSY, ALIKE = 0.5, 1.1


@dataclass(frozen=True)
class Machine:
    """The computer. cores: those this process may use; load: of the last minute, None where unknown."""

    system: str
    python: str
    cpu: str
    cores: int
    load: float | None

    @property
    def busy(self) -> bool:
        """Whether the load makes a measurement unreliable."""
        return self.load is not None and self.load > BUSY * self.cores


@dataclass(frozen=True)
class Report:
    """The result of `examine`. versions: None where not installed; works: whether training will run here."""

    works: bool
    machine: Machine
    versions: dict[str, str | None]
    devices: tuple[str, ...]
    checks: tuple[Check, ...]
    workload: str
    speeds: tuple[Speed, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """What is measured: the sizes of an observation and of an action, and the settings of the run."""

    obs: int
    actions: int
    builder: RunBuilder

    def __str__(self) -> str:
        s, sizes = (
            self.builder.settings,
            f"{several(self.obs, 'observation')}, {several(self.actions, 'action')}",
        )
        return f"{sizes}, hidden layers {'-'.join(map(str, s['hidden']))}, minibatch {s['batch']}"


def workload_of(obs: int, actions: int, hidden: tuple[int, ...] | None, batch: int | None) -> Workload:
    """The workload of an environment of these sizes; hidden and batch: by default those of preset pendulum.

    InputError where a value is not usable.
    """
    builder = RunBuilder(base("", "pendulum"))
    hidden = builder.settings["hidden"] if hidden is None else hidden
    batch = builder.settings["batch"] if batch is None else batch
    capacity = max(builder.settings["capacity"], batch)
    return Workload(
        obs, actions, builder.replace(hidden=hidden, action_layer=1, batch=batch, capacity=capacity)
    )


def examine(workload: Workload, seconds: float) -> Report:
    """Examine the machine, and measure the workload for `seconds`.

    Never raises for what it finds, and uses no network. Takes about five seconds more than `seconds`.
    """
    machine, found, builder = look(), versions(), workload.builder
    with ThreadPoolExecutor() as pool:
        pictures = [*pool.map(attempt, trials()), window()]
    counts = [builder.threads, *({1, 2} - {builder.threads})]
    ways = [(n, "") for n in counts] + [(n, UNDIVIDED) for n in counts if n > 1]
    answers = [measured(workload, *way, seconds / len(ways)) for way in ways]
    devices = tuple(answers[0].value["devices"]) if answers[0].value else ()
    speeds = tuple(
        Speed(**{**s, "flags": flags})
        for a, (_, flags) in zip(answers, ways, strict=True)
        if a.value
        for s in a.value["speeds"]
    )
    essential = [packages(requirements(), version), engine(answers[0], found, os.environ)]
    graphics = gpu(devices, nvidia(), found, os.environ)
    return Report(
        works=all(c.state == "ok" for c in essential),
        machine=machine,
        versions=found,
        devices=devices,
        checks=(*essential, graphics, *pictures),
        workload=str(workload),
        speeds=tuple(sorted(speeds, key=lambda s: (s.threads, s.device, s.flags))),
        advice=advise(speeds, builder, machine),
    )


def measured(workload: Workload, threads: int, flags: str, seconds: float) -> Answer:
    """The answer of `doctor_speed.compute` in a child process with so many threads and these flags of XLA."""
    builder = workload.builder
    only = {"JAX_PLATFORMS": "cpu"} if flags or threads != builder.threads else {}
    if flags:
        only["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    settings = builder.replace(threads=threads).settings
    # Without this JAX takes most of the GPU's memory, and fails where a training run holds it.
    env = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **only}
    args = (workload.obs, workload.actions, settings, seconds)
    return ask("tools.doctor_speed:compute", args, env, 120 + seconds)


def look() -> Machine:
    """The machine, with its load before anything is measured."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    load = None if sys.platform == "win32" else round(os.getloadavg()[0], 2)
    return Machine(platform.platform(terse=True), platform.python_version(), cpu_model(), cores, load)


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """The name of the CPU's model."""
    text = info.read_text() if info.is_file() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def advise(speeds: Sequence[Speed], builder: RunBuilder, machine: Machine) -> tuple[str, ...]:
    """What to choose on this machine, in sentences."""
    if not speeds:
        return ()
    cpus = sorted((s for s in speeds if s.threads), key=lambda s: s.iteration_us)
    best = min(speeds, key=lambda s: s.iteration_us)
    words = []
    if machine.busy:
        words.append(
            f"The machine was busy (load {machine.load} on {several(machine.cores, 'core')}): "
            "measure again when it is not."
        )
    if cpus and len(cpus) < len(speeds):
        how = "put JAX_PLATFORMS=cpu before the command" if best.threads else "JAX does so by itself"
        words.append(
            f"Train on the {best.device}, the fastest here for environments that run in Python: {how}."
        )
    if len(cpus) > 1 and not machine.busy:
        words += threads_and_flags(cpus, builder.threads)
    rate = builder.settings["envs"] * 1e6 / best.iteration_us
    at_most = f"Training makes at most {rate:,.0f} environment steps a second there"
    words.append(f"{at_most}, less the environment's own time.")
    return tuple(words)


def threads_and_flags(cpus: Sequence[Speed], threads: int) -> list[str]:
    """The number of XLA's threads to choose, and its flag where that is faster still.

    cpus: speeds of the CPU, the fastest first; threads: the setting.
    """
    words, plain = [], [s for s in cpus if not s.flags]
    if len(plain) > 1:
        times = plain[-1].iteration_us / plain[0].iteration_us
        counts = " and ".join(str(n) for n in sorted(c.threads for c in plain))
        alike = f"On the CPU, {counts} threads are equally fast: leave --threads at {threads}."
        faster = (
            f"On the CPU, choose --threads {plain[0].threads}: "
            f"{times:.1f} times as fast as {plain[-1].threads}."
        )
        words.append(alike if times < ALIKE else faster)
    best = cpus[0]
    if best.flags and plain and (times := plain[0].iteration_us / best.iteration_us) >= ALIKE:
        words.append(
            f"Faster still: put XLA_FLAGS={best.flags} before the command, with --threads {best.threads}: "
            f"{times:.1f} times as fast. The flag decides the last bits; checkpoints record it."
        )
    return words


# Printing


def show(report: Report, console: Any) -> None:
    """Print a report on a rich console; fits 80 columns."""
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
    line(
        "swingup will work here."
        if report.works
        else "swingup will not work until what is broken above is repaired.",
        "bold",
    )


def show_checks(checks: Sequence[Check], console: Any) -> None:
    """Print the checks as a table, each with its fix below."""
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
    """Print the speeds as a table."""
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
