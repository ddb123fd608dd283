"""Several seeds in one compiled program: their fused loops share one device side, a lane each."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swingup.loops.fused import Carry, Seen, Task, beginning, chunk, longest


class Lanes:
    """Carries of S seeds stacked, and the program that moves them all on: `vmap` of the fused loop's chunk.

    `lane` makes the lanes, before the first of them runs. From then on they take turns: each runs once, then each once more. The first of
    a round computes for all; what a lane that has dropped out computes is thrown away.
    """

    def __init__(self, most: int):
        self.most = most  # lanes that there may be
        self.carries: list[Any] = []
        self.seeds: list[np.uint32] = []
        self.stack: Carry | None = None
        self.rounds, self.asked = 0, (False, 0)
        self.rows = self.metrics = np.zeros(0)

    def lane(self, task: Task, seed: np.uint32) -> Lane:
        """A place for one more seed."""
        self.task = task
        self.carries.append(beginning(task)(seed))
        self.seeds.append(seed)
        return Lane(self, len(self.seeds) - 1)

    def advance(self, learning: bool, count: int, length: int) -> None:
        """One chunk of every lane."""
        if self.stack is None:
            self.stack = jax.tree.map(lambda *x: jnp.stack(x), *self.carries)
            self.carries.clear()
        self.stack, seen = together(self.task, learning, length)(self.stack, np.array(self.seeds), np.int32(count))
        self.rows, self.metrics = np.asarray(seen.rows), np.asarray(seen.metrics)
        self.rounds, self.asked = self.rounds + 1, (learning, count)


class Lane:
    """The device's side of one seed's fused loop, its carry a slice of the lanes' stack."""

    def __init__(self, among: Lanes, i: int):
        self.among, self.i, self.turns = among, i, 0
        self.lanes, self.length = among.most, longest(among.task.plan, among.most)

    @property
    def carry(self) -> Carry:
        stack = self.among.stack
        return self.among.carries[self.i] if stack is None else slice_of(stack, np.int32(self.i))

    @carry.setter
    def carry(self, carry: Carry) -> None:
        lanes = self.among
        if lanes.stack is None:
            lanes.carries[self.i] = carry
        else:
            lanes.stack = into(lanes.stack, carry, np.int32(self.i))

    def run(self, learning: bool, count: int) -> Seen:
        """Move on by `count` iterations, all lanes together."""
        among = self.among
        if self.turns == among.rounds:
            among.advance(learning, count, self.length)
        self.turns += 1
        if (self.turns, (learning, count)) != (among.rounds, among.asked):
            raise RuntimeError(f"lane {self.i}: out of step with the others")
        return Seen(among.rows[self.i], among.metrics[self.i])


@lru_cache(4)
def together(task: Task, learning: bool, length: int) -> Any:
    """A chunk of all lanes as one program, the stack donated."""
    return jax.jit(jax.vmap(partial(chunk, task, learning, length), (0, 0, None)), donate_argnums=0)


@jax.jit
def slice_of(stack: Any, i: Any) -> Any:
    return jax.tree.map(lambda x: x[i], stack)


@partial(jax.jit, donate_argnums=0)
def into(stack: Any, carry: Any, i: Any) -> Any:
    return jax.tree.map(lambda every, x: every.at[i].set(x), stack, carry)
