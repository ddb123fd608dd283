"""Remarks about the environments of a run: what was taken in another form than declared, each said once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

# Called with a topic and a line of text.
Remark = Callable[[str, str], None]


def ignore(topic: str, text: str) -> None:
    """Say nothing."""


class Remarks:
    """Collects remarks by topic, the first of each; says them as soon as it is told how.

    without: topics that the run's settings have already answered.
    """

    def __init__(self, without: Iterable[str] = ()):
        self.said = set(without)
        self.made: set[str] = set()  # the topics of what has been said
        self.waiting: dict[str, str] = {}
        self.say: Callable[[str], None] | None = None

    def __call__(self, topic: str, text: str) -> None:
        if topic in self.said or topic in self.waiting:
            return
        self.waiting[topic] = text
        if self.say is not None:
            self.said_with(self.say)

    def taken(self) -> list[tuple[str, str]]:
        """What is waiting, which is then taken for said: another process says it."""
        found = list(self.waiting.items())
        self.said.update(self.waiting)
        self.waiting.clear()
        return found

    def said_with(self, say: Callable[[str], None]) -> None:
        """Say what is waiting, and from now on every new remark, with `say`."""
        self.say = say
        while self.waiting:
            topic = next(iter(self.waiting))
            text = self.waiting.pop(topic)
            if topic not in self.said:
                self.said.add(topic)
                self.made.add(topic)
                say(text)
