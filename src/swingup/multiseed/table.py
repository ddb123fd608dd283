"""What a person sees of a group while it trains: a live table on a terminal, a line for each event elsewhere."""

from __future__ import annotations

from typing import Any

from swingup.multiseed.status import Member

STYLE = {"waiting": "dim", "starting": "dim", "training": "", "done": "green", "stopped": "yellow", "failed": "red"}

# Of numbers, and how wide, so that the table does not move while they grow.
COLUMNS = {"seed": 4, "steps": 7, "": 5, "return": 9, "greedy": 9, "steps/s": 7}


class Board:
    """The table: `look()` redraws it, `say(member, text)` prints a line above it."""

    def __init__(self, console: Any, members: list[Member], steps: int):
        from rich.live import Live

        self.console, self.members, self.steps = console, members, steps
        self.live = Live(
            get_renderable=lambda: table(self.members, self.steps), console=console, auto_refresh=False, transient=True
        )
        self.live.start()

    def look(self) -> None:
        self.live.refresh()

    def say(self, member: Member, text: str) -> None:
        self.console.print(f"seed {member.seed}: {text}", markup=False)

    def close(self) -> None:
        self.live.stop()


class Events:
    """A line for each evaluation, and for each seed that ends."""

    def __init__(self, console: Any, members: list[Member]):
        self.console, self.members = console, members
        self.before = {m.seed: (m.state, m.seen) for m in members}

    def look(self) -> None:
        for member in self.members:
            state, seen = self.before[member.seed]
            self.before[member.seed] = member.state, member.seen
            if member.seen != seen and member.greedy is not None:
                self.say(member, f"greedy after {member.seen:,} steps: {member.greedy:,.1f}")
            if member.state != state and member.state in ("stopped", "failed"):
                self.say(member, member.state + (f": {member.error}" if member.error else ""))

    def say(self, member: Member, text: str) -> None:
        self.console.print(f"seed {member.seed}: {text}", markup=False)

    def close(self) -> None:
        self.look()


def board(console: Any, members: list[Member], steps: int) -> Board | Events:
    """The one that fits where one looks from."""
    return Board(console, members, steps) if console.is_terminal and not console.quiet else Events(console, members)


def table(members: list[Member], steps: int) -> Any:
    """A row for each seed."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
    for name, width in COLUMNS.items():
        made.add_column(name, justify="right", no_wrap=True, min_width=width)
    made.add_column("", overflow="fold")
    for m in members:
        share = f"{100 * min(m.steps / steps, 1):.0f} %"
        numbers = (f"{m.steps:,}", share, figure(m.ret), figure(m.greedy), "" if m.speed is None else f"{m.speed:,.0f}")
        words = m.state + (f": {m.error}" if m.error else "")
        made.add_row(str(m.seed), *numbers, Text(words, STYLE[m.state]))
    return made


def figure(x: float | None) -> str:
    return "–" if x is None else f"{x:,.1f}"
