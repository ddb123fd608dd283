"""`swingup doctor`: what swingup runs on, whether it will work, and how fast it is here.

Whatever may crash, hang or print is done by a child process (`child.ask`), JAX included: a broken driver must not take its own
diagnosis down. `examine` gathers facts, `show` prints them, `dataclasses.asdict` makes them JSON.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swingup.config.presets import base
from swingup.config.settings import Config, check
from swingup.errors import InputError
from swingup.tools.doctor_graphics import attempt, trials, window
from swingup.tools.doctor_packages import Check, engine, gpu, nvidia, packages, requirements, version, versions
from swingup.tools.doctor_speed import Speed, several
from swingup.tools.subprocess_call import ask

# Load per core from which a measurement is not to be trusted; difference that counts as one.
BUSY, ALIKE = 0.5, 1.1


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
        answers.append(ask("tools.doctor_speed:compute", (obs, actions, settings, seconds / len(counts)), env, 120 + seconds))
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


def look() -> Machine:
    """The machine, as it is before anything is measured."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    load = None if sys.platform == "win32" else round(os.getloadavg()[0], 2)
    return Machine(platform.platform(terse=True), platform.python_version(), cpu_model(), cores, load)


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    text = info.read_text() if info.is_file() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


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
