"""Collected rows as the networks see them, for the diagnostics of a run whose inputs have a history."""

from __future__ import annotations

import numpy as np

from swingup.core.history import History, Past, begin, no_past, push, stack
from swingup.types import Layout


class Inputs:
    """Replaces the observations of N environments' rows by the networks' inputs; `layout` is their layout."""

    def __init__(self, history: History, n: int):
        self.history, self.narrow = history, Layout(history.obs_size, history.action_size)
        self.layout = Layout(history.size, history.action_size)
        self.past = no_past(history, np.zeros((n, history.obs_size), np.float32))
        self.first = np.ones(n, np.float32)

    def widen(self, rows: np.ndarray) -> np.ndarray:
        """rows[N, W] of a time step, with inputs for observations."""
        t = self.narrow.unpack(rows)
        now = begin(self.history, self.past, t.obs, self.first)
        self.past, self.first = push(now, t.obs, t.action), t.last.copy()
        return self.layout.pack(t._replace(obs=stack(now, t.obs), next_obs=stack(self.past, t.next_obs)))

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs, as arrays by name."""
        return {"past_obs": self.past.obs, "past_action": self.past.action, "first": self.first}

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self.past = Past(saved["past_obs"].copy(), saved["past_action"].copy())
        self.first = saved["first"].copy()
