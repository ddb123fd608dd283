"""What a group shows while it trains: a live table on a terminal, a line for each event elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

from swingup.multiseed.status import SeedStatus
from swingup.reports.wording import number

STYLE = {
    "waiting": "dim",
    "starting": "dim",
    "training": "",
    "done": "green",
    "stopped": "yellow",
    "failed": "red",
}

# Columns of numbers and their widths, so that the table does not move as the numbers grow.
COLUMNS = {"seed": 4, "steps": 7, "": 5, "return": 9, "greedy": 9, "steps/s": 7}


class StatusView(Protocol):
    """Shows the status of seeds: `refresh` redraws it, `say` prints a line of a run, `close` ends it."""

    def refresh(self) -> None: ...

    def say(self, seed: SeedStatus, text: str) -> None: ...

    def close(self) -> None: ...


class StatusTable:
    """A live table with a row for each seed; a line of a seed's run is printed above it."""

    def __init__(self, console: Any, seeds: list[SeedStatus], steps: int):
        from rich.live import Live

        self.console, self.seeds, self.steps = console, seeds, steps
        self.live = Live(
            get_renderable=lambda: table(self.seeds, self.steps),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self.live.start()

    def refresh(self) -> None:
        self.live.refresh()

    def say(self, seed: SeedStatus, text: str) -> None:
        self.console.print(f"seed {seed.seed}: {text}")

    def close(self) -> None:
        self.live.stop()


class StatusLines:
    """A line for each evaluation, and for each seed that stops or fails."""

    def __init__(self, console: Any, seeds: list[SeedStatus]):
        self.console, self.seeds = console, seeds
        self.before = {m.seed: (m.state, m.evaluated) for m in seeds}

    def refresh(self) -> None:
        for seed in self.seeds:
            state, seen = self.before[seed.seed]
            self.before[seed.seed] = seed.state, seed.evaluated
            if seed.evaluated != seen and seed.greedy is not None:
                self.say(seed, f"greedy after {seed.evaluated:,} steps: {number(seed.greedy)}")
            if seed.state != state and seed.state in ("stopped", "failed"):
                self.say(seed, seed.state + (f": {seed.error}" if seed.error else ""))

    def say(self, seed: SeedStatus, text: str) -> None:
        self.console.print(f"seed {seed.seed}: {text}")

    def close(self) -> None:
        self.refresh()


def status_view(console: Any, seeds: list[SeedStatus], steps: int) -> StatusView:
    """A live table on a terminal, lines elsewhere."""
    return (
        StatusTable(console, seeds, steps)
        if console.is_terminal and not console.quiet
        else StatusLines(console, seeds)
    )


def table(seeds: list[SeedStatus], steps: int) -> Any:
    """A rich table with a row for each seed."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
    for name, width in COLUMNS.items():
        made.add_column(name, justify="right", no_wrap=True, min_width=width)
    made.add_column("", overflow="fold")
    for m in seeds:
        share = f"{100 * min(m.steps / steps, 1):.0f} %"
        numbers = (
            f"{m.steps:,}",
            share,
            figure(m.ret),
            figure(m.greedy),
            "" if m.speed is None else f"{m.speed:,.0f}",
        )
        words = m.state + (f": {m.error}" if m.error else "")
        made.add_row(str(m.seed), *numbers, Text(words, STYLE[m.state]))
    return made


def figure(x: float | None) -> str:
    """A return as text, or a dash where there is none."""
    return "–" if x is None else number(x)
