"""The fused loop: training on environments in JAX, many iterations in one call of a compiled program."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swingup.core import agent as algorithm
from swingup.core import engine
from swingup.core.agent import Learner
from swingup.core.engine import Plan
from swingup.core.named_arrays import flatten_named, same_shapes, unflatten_named
from swingup.core.pytrees import device_copy
from swingup.envs.jax_programs import programs
from swingup.errors import EnvFault
from swingup.loops.base import IterationResult, LoopBase, Snapshot, Start, without_ring
from swingup.loops.fused_program import Carry, SingleSeed, Task
from swingup.seeding import TRAIN, episode_seed
from swingup.types import Episode

# The host's counters of each environment's running episode.
COUNTED = ("ret", "length", "number")


class FusedLoop(LoopBase):
    """`Loop` on a `JaxEnv`: a chunk of iterations is computed at once and reported one by one.

    A chunk ends at every step at which a log, an evaluation or a checkpoint is due. limit: steps after which
    an episode is truncated, unless the environment's own limit is smaller; every, end: as in `LoopBase`;
    device: makes the device side from (task, seed): `SingleSeed`, or `VmappedSeeds.add` of a group.
    """

    def __init__(
        self,
        plan: Plan,
        env: Any,
        seed: int,
        *,
        limit: int | None = None,
        every: tuple[int, ...] = (),
        end: int = 2**31,
        device: Any = SingleSeed,
    ):
        super().__init__(plan, every, end)
        self.seed, self.spec = np.uint32(seed), env.spec
        self.task = task = Task(
            plan, env, min((x for x in (env.limit, limit) if x is not None), default=None)
        )
        self.device = device(task, self.seed)
        self.seeds_in_program = self.device.seeds_in_program
        self.computed: deque[IterationResult] = deque()
        self.done = 0  # iterations computed; `iteration` counts those reported
        self.ret, self.length, self.number = (
            np.zeros(plan.n),
            np.zeros(plan.n, np.int64),
            np.zeros(plan.n, np.int64),
        )

    @property
    def carry(self) -> Carry:
        """The state that the compiled program passes from iteration to iteration."""
        return self.device.carry

    @property
    def state(self) -> engine.State:  # type: ignore[override]
        return self.carry.state

    @property
    def settled(self) -> bool:
        return not self.computed

    def begin_with(self, start: Start) -> None:
        carry = self.carry
        self.device.carry = carry._replace(state=self.started(carry.state, start))
        behaviour, actors, action = self.first_actions(self.carry.obs)
        self.device.carry = self.carry._replace(behaviour=behaviour, actors=actors, action=action)

    def step(self, ahead: bool = True) -> IterationResult:
        del ahead  # every iteration of a computed chunk is reported
        if not self.computed:
            self.compute_chunk()
        self.iteration += 1
        return self.computed.popleft()

    def compute_chunk(self) -> None:
        """Run a chunk: to the end of the warm-up, the next log, evaluation or checkpoint, or the end."""
        warm = self.plan.warmup_iterations
        learning, unseen = self.filled >= warm, self.iterations_until_seen(self.done * self.plan.rows)
        count = min(self.device.length, unseen, *([] if learning else [warm - self.filled]))
        self.filled += count
        result = self.device.run(learning, count)
        rows, metrics = np.asarray(result.rows), np.asarray(result.metrics)
        for c in range(count):
            self.done += 1
            self.computed.append(self.report(rows[c], metrics[c] if learning else None))

    def report(self, rows: np.ndarray, array: np.ndarray | None) -> IterationResult:
        """The result of one computed iteration, from its rows[K, N, W] and metrics."""
        step, t = self.done * self.plan.rows, self.plan.agent.layout.unpack(rows)
        metrics = self.check_metrics(array, step) if array is not None else None
        if not np.isfinite(rows).all():
            k, i, w = np.argwhere(~np.isfinite(rows))[0]
            what = f"column {w} of its transition is {rows[k, i, w]}"
            raise EnvFault(
                f"environment {self.spec.env} [{i}], before step {step}: {what}; mend the environment"
            )
        episodes = []
        for k in range(self.plan.block):
            self.ret += t.reward[k]
            self.length += 1
            episodes += [self.end_episode(int(i), not t.discount[k, i]) for i in np.flatnonzero(t.last[k])]
        return IterationResult(step, rows.copy(), episodes, metrics)

    def end_episode(self, i: int, terminated: bool) -> Episode:
        """The episode that environment i has finished; the counters start again at zero."""
        number = int(self.number[i])
        seed = int(episode_seed(int(self.seed), TRAIN, i, number))
        episode = Episode(i, number, seed, float(self.ret[i]), int(self.length[i]), terminated)
        self.number[i] += 1
        self.ret[i] = self.length[i] = 0
        return self.finish_episode(episode)

    def host_state(self) -> dict[str, np.ndarray]:
        """The loop's state on the host, as arrays by their names in a snapshot."""
        return {f"host.{name}": getattr(self, name) for name in COUNTED} | self.counters()

    def snapshot(self) -> Snapshot:
        if not self.settled:
            raise RuntimeError("fused loop: a snapshot in the middle of a chunk; `every` must name its step")
        ring, carry = self.state.replay, self.carry
        tensors = flatten_named(carry._replace(state=without_ring(carry.state))) | self.host_state()
        return Snapshot(tensors, np.asarray(ring.rows), int(ring.added))

    def restore(self, saved: Snapshot) -> bool:
        if saved.ring is None:
            self.restore_weights(saved)
            return False
        same_shapes(saved.tensors, self.host_state())
        device = {k: v for k, v in saved.tensors.items() if k.startswith(".")}
        carry = unflatten_named(self.carry._replace(state=without_ring(self.state)), device)
        self.device.carry = carry._replace(state=carry.state._replace(replay=self.load_ring(saved)))
        self.set_counters(saved)
        self.done = self.iteration
        self.ret, self.length, self.number = (saved.tensors[f"host.{k}"].copy() for k in COUNTED)
        return True

    def restore_weights(self, saved: Snapshot) -> None:
        """Continue with the weights of a snapshot only: new episodes, a new warm-up that fills replay."""
        self.set_learner(self.saved_learner(saved))
        self.iteration, self.episodes = (int(saved.tensors[f"host.{k}"]) for k in ("iteration", "episodes"))
        self.done, self.number = self.iteration, np.array(saved.tensors[".begun"], np.int64)
        reset, number = programs(self.task.env)[0], jnp.asarray(self.number, jnp.int32)
        seeds = lambda number: episode_seed(self.seed, TRAIN, jnp.arange(self.plan.n), number)
        envs, obs = jax.jit(lambda number: reset(seeds(number)))(number)
        actors = self.carry.actors._replace(step=jnp.int32(self.iteration * self.plan.block))
        choose = jax.jit(partial(engine.random_action, self.plan))
        actors, action = choose(self.carry.behaviour, actors, obs, jnp.ones(self.plan.n, obs.dtype))
        demos = self.saved_demos(saved)
        state = self.state._replace(iteration=jnp.int32(self.iteration), demos=demos)
        self.device.carry = self.carry._replace(
            state=state, actors=actors, envs=envs, obs=obs, action=action, begun=number + 1
        )

    def set_learner(self, learner: Learner) -> None:
        learner, behaviour = device_copy(learner), device_copy(algorithm.behaviour(learner))
        self.device.carry = self.carry._replace(
            state=self.state._replace(learner=learner), behaviour=behaviour
        )
