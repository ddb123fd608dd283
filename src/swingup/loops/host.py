"""The host loop: training on environments that run in Python.

The environments go on while the learner computes: at most two iterations are in flight; the queue is drained
before logs, evaluations and checkpoints.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.core import agent as algorithm
from swingup.core import engine
from swingup.core.agent import Behaviour, Learner
from swingup.core.engine import Actors, Plan, State
from swingup.core.named_arrays import flatten_named, same_shapes, unflatten_named
from swingup.core.pytrees import device_copy
from swingup.envs.api import VectorEnv
from swingup.errors import EnvFault, InputError
from swingup.loops.base import (
    BackgroundCompiled,
    IterationResult,
    LoopBase,
    Snapshot,
    Start,
    without_ring,
)
from swingup.loops.collector import HostCollector
from swingup.loops.controllers import Controllers
from swingup.loops.relabeller import Relabeller
from swingup.types import Episode

if TYPE_CHECKING:
    from swingup.envs.goals import Goals


class InFlight(NamedTuple):
    """An iteration whose updates are being computed; the fields are those of `IterationResult`.

    metrics: still on the device (None in the warm-up).
    """

    step: int
    rows: np.ndarray
    episodes: list[Episode]
    metrics: Any


class DeviceState(NamedTuple):
    """The state of a host loop on the device."""

    state: State
    behaviour: Behaviour
    actors: Actors


class HostLoop(LoopBase):
    """`Loop` on a `VectorEnv`; goals: its goals, where the plan relabels them in hindsight."""

    def __init__(
        self,
        plan: Plan,
        env: VectorEnv,
        seed: int,
        *,
        every: tuple[int, ...] = (1,),
        end: int = 2**31,
        goals: Goals | None = None,
        warmup_policy: Any = None,
    ):
        super().__init__(plan, every, end)
        self.controllers = None if warmup_policy is None else Controllers(warmup_policy, env.spec, env.n)
        self.env, self.spec = env, env.spec
        self.relabeller = (
            None
            if plan.hindsight is None or goals is None
            else Relabeller(plan.hindsight, goals, plan.agent.layout, plan.n, seed, plan.block)
        )
        self.collector = HostCollector(env, seed, relabeller=self.relabeller)
        self.in_flight: deque[InFlight] = deque()
        self.fault: EnvFault | None = None
        # A thread compiles the large programs while the first actions are chosen and the warm-up runs.
        obs, rows = (
            self.collector.obs,
            np.zeros((plan.block, plan.columns, plan.agent.layout.width), np.float32),
        )
        start = jax.jit(partial(engine.start_run, plan)).trace(np.uint32(seed), obs)
        state, behaviour, actors, _ = start.out_info
        first = np.ones(plan.n, np.float32)
        compiler = ThreadPoolExecutor(1, "compile")
        self.train_step = BackgroundCompiled(compiler, partial(engine.train_step, plan), state, rows)
        self.act = BackgroundCompiled(compiler, actors_first(engine.act, plan), actors, behaviour, obs, first)
        compiler.shutdown(wait=False)
        self.warmup_step = jax.jit(partial(engine.warmup_step, plan), donate_argnums=0)
        self.random_action = jax.jit(actors_first(engine.random_action, plan), donate_argnums=0)
        try:
            started = start.lower().compile()(np.uint32(seed), obs)
            self.state, self.behaviour, self.actors, self.action = jax.block_until_ready(started)
        except jax.errors.JaxRuntimeError as error:
            need = plan.capacity * plan.agent.layout.width * 4 / 2**30
            raise InputError(
                f"memory: replay of {plan.capacity:,} rows takes {need:,.1f} GiB; "
                "lower --capacity or --hidden"
            ) from error
        self.let_controllers_act(np.ones(plan.n))
        self.latest = self.behaviour  # replaces `behaviour` at the end of the next iteration

    @property
    def settled(self) -> bool:
        return not self.in_flight

    def begin_with(self, start: Start) -> None:
        self.state = self.started(self.state, start)
        if start.rows is not None or start.demos is not None:
            self.relabel_from_here()
        self.behaviour, self.actors, self.action = self.first_actions(self.collector.obs)
        self.latest = device_copy(self.behaviour)
        self.let_controllers_act(np.ones(self.plan.n))

    def relabel_from_here(self) -> None:
        """Let hindsight go on from the newest rows of replay."""
        if self.relabeller is not None:
            ring = self.state.replay
            self.relabeller.restore(np.asarray(ring.rows), int(ring.added), np.zeros(self.plan.n, bool))

    def add(self, rows: np.ndarray) -> None:
        """Put rows[M, W] of other origin into replay, between two steps; they count for the warm-up."""
        while not self.settled:
            self.step(ahead=False)
        self.state = self.filled_with(self.mark_running(self.state), rows)
        self.relabel_from_here()
        self.latest = device_copy(algorithm.behaviour(self.state.learner))

    @property
    def between_episodes(self) -> bool:
        return bool((self.collector.length < self.plan.block).all())

    def step(self, ahead: bool = True) -> IterationResult:
        if not self.in_flight:
            self.launch()
        now = self.in_flight[0]
        seen_next = self.iterations_until_seen(now.step - self.plan.rows) <= 1
        if ahead and len(self.in_flight) == 1 and not self.fault and not seen_next:
            try:
                self.launch()
            except EnvFault as fault:  # raised in the next call, as it belongs to the next iteration
                self.fault = fault
        self.in_flight.popleft()
        self.iteration += 1
        metrics = self.check_metrics(np.asarray(now.metrics), now.step) if now.metrics is not None else None
        return IterationResult(now.step, now.rows, [self.finish_episode(e) for e in now.episodes], metrics)

    def launch(self) -> None:
        """Collect the rows of the next iteration, choose the actions after it, and start its updates."""
        if self.fault:
            raise self.fault
        learning = self.filled >= self.plan.warmup_iterations
        choose = self.act if learning else self.random_action
        blocks, episodes = [], []
        for k in range(self.plan.block):
            rows, ended = self.collector.collect(np.asarray(self.action))
            blocks.append(rows)
            episodes += ended
            if k == self.plan.block - 1:
                self.behaviour = self.latest
            last = self.plan.agent.layout.unpack(rows[-1, :: self.plan.copies]).last
            self.actors, self.action = choose(self.actors, self.behaviour, self.collector.obs, last)
            if not learning:
                self.let_controllers_act(last)
        rows, metrics = np.concatenate(blocks), None
        if learning:
            self.state, (self.latest, metrics) = self.train_step(self.state, rows)
        else:
            self.state, self.latest = self.warmup_step(self.state, rows)
        self.filled += 1
        step = (self.iteration + len(self.in_flight) + 1) * self.plan.rows
        self.in_flight.append(InFlight(step, rows[:, :: self.plan.copies], episodes, metrics))

    def let_controllers_act(self, first: Any, where: np.ndarray | None = None) -> None:
        """In the warm-up, replace the next actions by those of the user's controllers, if there are any.

        first[N]: where an episode begins; where[N]: the environments concerned, by default all.
        """
        if self.controllers is not None and self.filled <= self.plan.warmup_iterations:
            action = self.controllers(self.collector.obs, np.asarray(first), where)
            self.action = action if where is None else np.where(where[:, None], action, self.action)

    @property
    def device_state(self) -> DeviceState:
        """The loop's state on the device, without replay."""
        return DeviceState(without_ring(self.state), self.behaviour, self.actors)

    def host_state(self) -> dict[str, np.ndarray]:
        """The loop's state on the host, as arrays by their names in a snapshot."""
        collector = {f"host.{name}": value for name, value in self.collector.state().items()}
        return collector | {"host.action": np.asarray(self.action)} | self.counters()

    def snapshot(self) -> Snapshot:
        if not self.settled:
            raise RuntimeError(
                "host loop: a snapshot while an iteration is in flight; `every` must name its step"
            )
        ring = self.state.replay
        tensors = flatten_named(self.device_state) | self.host_state()
        return Snapshot(tensors, np.asarray(ring.rows), int(ring.added))

    def restore(self, saved: Snapshot) -> bool:
        if saved.ring is None:
            self.restore_weights(saved)
            return False
        same_shapes(saved.tensors, self.host_state(), growing="host.journal.")
        host = {k.removeprefix("host."): v for k, v in saved.tensors.items() if k.startswith("host.")}
        device = {k: v for k, v in saved.tensors.items() if k.startswith(".")}
        restored = unflatten_named(self.device_state, device)
        lost = self.collector.restore(host)
        self.state = restored.state._replace(replay=self.load_ring(saved, lost))
        if self.relabeller is not None:
            self.relabeller.restore(saved.ring, saved.added, lost)
        self.behaviour, self.actors = restored.behaviour, restored.actors
        self.latest = device_copy(algorithm.behaviour(self.state.learner))
        self.set_counters(saved)
        self.action = jnp.array(host["action"])
        if self.controllers is not None and self.filled <= self.plan.warmup_iterations:
            self.controllers.see_again(self.collector.replayed)
        if lost.any():
            self.q_max[lost] = 0
            self.choose_again(lost)
        return not lost.any()

    def choose_again(self, where: np.ndarray) -> None:
        """Choose the actions of the environments in where[N] again: same random numbers, new observations."""
        choose = self.random_action if self.filled <= self.plan.warmup_iterations else self.act
        before = self.actors._replace(step=self.actors.step - 1)
        past = device_copy(self.actors.past)
        self.actors, action = choose(before, self.behaviour, self.collector.obs, np.float32(where))
        self.action = jnp.where(where[:, None], action, self.action)
        # The others have not acted twice: they keep their past.
        keep = lambda new, old: jnp.where(where[:, None, None], new, old)
        self.actors = self.actors._replace(past=jax.tree.map(keep, self.actors.past, past))
        self.let_controllers_act(where, where)

    def restore_weights(self, saved: Snapshot) -> None:
        """Continue with the weights of a snapshot only: new episodes, a new warm-up that fills replay."""
        self.set_learner(self.saved_learner(saved))
        self.iteration, self.episodes = (int(saved.tensors[f"host.{k}"]) for k in ("iteration", "episodes"))
        demos = self.saved_demos(saved)
        self.state = self.state._replace(iteration=jnp.int32(self.iteration), demos=demos)
        self.collector.begun[:] = saved.tensors["host.begun"]
        if self.relabeller is not None:
            self.relabeller.clear()
        every = np.ones(self.plan.n, bool)
        self.collector.obs = self.collector.begin_episodes(every)
        actors = self.actors._replace(step=jnp.int32(self.iteration * self.plan.block))
        self.actors, self.action = self.random_action(
            actors, self.behaviour, self.collector.obs, np.float32(every)
        )

    def set_env(self, env: VectorEnv) -> None:
        """Go on in other environments, or in the same ones anew; running episodes end as if truncated.

        Their number, sizes and bounds must be those of before.
        """
        while self.in_flight:
            self.step(ahead=False)
        self.env, self.spec, self.fault = env, env.spec, None
        seed, begun = self.collector.seed, self.collector.begun
        self.collector = HostCollector(env, seed, relabeller=self.relabeller, begun=begun)
        self.state = self.mark_running(self.state)
        replay = self.state.replay
        if self.relabeller is not None:
            self.relabeller.restore(np.asarray(replay.rows), int(replay.added), np.ones(self.plan.n, bool))
        self.q_max[:] = 0
        self.choose_again(np.ones(self.plan.n, bool))

    def set_replay(self, rows: np.ndarray) -> None:
        """Replace replay by the newest of rows[T, N, W]; the warm-up is over where they are enough for it."""
        self.state = engine.fill_replay(self.plan, self.state, rows)
        ring = self.state.replay
        self.filled = int(ring.added) // self.plan.block
        if self.relabeller is not None:
            self.relabeller.restore(np.asarray(ring.rows), int(ring.added), np.zeros(self.plan.n, bool))
        self.behaviour, self.latest = (device_copy(algorithm.behaviour(self.state.learner)) for _ in range(2))

    def set_learner(self, learner: Learner) -> None:
        self.state = self.state._replace(learner=device_copy(learner))
        self.behaviour, self.latest = (device_copy(algorithm.behaviour(self.state.learner)) for _ in range(2))


def actors_first(choose: Callable[..., Any], plan: Plan) -> Callable[..., Any]:
    """`engine.act` or `engine.random_action`, with the donated argument, the actors, first."""
    return lambda actors, behaviour, obs, first: choose(plan, behaviour, actors, obs, first)
