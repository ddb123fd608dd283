"""Several seeds in one compiled program: their fused loops share one device side."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swingup.loops.fused_program import Carry, ChunkResult, Task, chunk, compiled_start, longest_chunk


class VmappedSeeds:
    """The stacked carries of S seeds, and the program that advances them: `vmap` of the fused loop's chunk.

    count: S. All seeds are added before the first of them runs. Then they take turns: in each round every
    seed runs once. The first of a round computes for all; the results of a seed that has dropped out are
    discarded.
    """

    def __init__(self, count: int):
        self.count = count
        self.carries: list[Any] = []
        self.seeds: list[np.uint32] = []
        self.stack: Carry | None = None
        self.rounds, self.asked = 0, (False, 0)
        self.rows = self.metrics = np.zeros(0)

    def add(self, task: Task, seed: np.uint32) -> VmappedSeed:
        """Add a seed; returns its device side."""
        self.task = task
        self.carries.append(compiled_start(task)(seed))
        self.seeds.append(seed)
        return VmappedSeed(self, len(self.seeds) - 1)

    def advance(self, learning: bool, count: int, length: int) -> None:
        """Compute one chunk of every seed."""
        if self.stack is None:
            self.stack = jax.tree.map(lambda *x: jnp.stack(x), *self.carries)
            self.carries.clear()
        program = compiled_chunk(self.task, learning, length)
        self.stack, result = program(self.stack, np.array(self.seeds), np.int32(count))
        self.rows, self.metrics = np.asarray(result.rows), np.asarray(result.metrics)
        self.rounds, self.asked = self.rounds + 1, (learning, count)


class VmappedSeed:
    """The device side of one seed's fused loop: a slice of the stacked carries."""

    def __init__(self, group: VmappedSeeds, i: int):
        self.group, self.i, self.turns = group, i, 0
        self.seeds_in_program, self.length = group.count, longest_chunk(group.task.plan, group.count)

    @property
    def carry(self) -> Carry:
        stack = self.group.stack
        return self.group.carries[self.i] if stack is None else read_slice(stack, np.int32(self.i))

    @carry.setter
    def carry(self, carry: Carry) -> None:
        group = self.group
        if group.stack is None:
            group.carries[self.i] = carry
        else:
            group.stack = write_slice(group.stack, carry, np.int32(self.i))

    def run(self, learning: bool, count: int) -> ChunkResult:
        """Advance by `count` iterations; the first seed of a round computes for all."""
        group = self.group
        if self.turns == group.rounds:
            group.advance(learning, count, self.length)
        self.turns += 1
        if (self.turns, (learning, count)) != (group.rounds, group.asked):
            raise RuntimeError(f"seed {self.i}: out of step with the others")
        return ChunkResult(group.rows[self.i], group.metrics[self.i])


@lru_cache(4)
def compiled_chunk(task: Task, learning: bool, length: int) -> Any:
    """A chunk of all seeds as one program; the stacked carries are donated."""
    return jax.jit(jax.vmap(partial(chunk, task, learning, length), (0, 0, None)), donate_argnums=0)


@jax.jit
def read_slice(stack: Any, i: Any) -> Any:
    return jax.tree.map(lambda x: x[i], stack)


@partial(jax.jit, donate_argnums=0)
def write_slice(stack: Any, carry: Any, i: Any) -> Any:
    return jax.tree.map(lambda every, x: every.at[i].set(x), stack, carry)
