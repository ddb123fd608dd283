"""From settings to what a run is made of: engine plan, loop, and the checks that belong to both."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from swingup import runtime
from swingup.config.settings import Config
from swingup.envs.registry import in_jax
from swingup.errors import InputError
from swingup.training.environments import Envs
from swingup.types import Spec

if TYPE_CHECKING:
    from swingup.core.engine import Plan
    from swingup.loops.base import Loop


def fit(config: Config, spec: Spec) -> None:
    """InputError where a setting does not fit the environment."""
    if len(config.sigma) not in (1, spec.action_size):
        values = " ".join(map(str, config.sigma))
        raise InputError(f"--sigma {values}: {len(config.sigma)} numbers for {spec.action_size} actions; give one, or one each")


def plan(config: Config, spec: Spec) -> Plan:
    """The engine's static description of this run: networks of the environment's sizes, and everything else as given."""
    from swingup.core.agent import Agent, Smoothing
    from swingup.core.engine import Plan
    from swingup.core.heads import Categorical, Scalar
    from swingup.core.networks import PAPER, TFLEARN, Actor, Critic
    from swingup.core.prioritized import Priority
    from swingup.core.sharding import split

    fit(config, spec)
    sizes: dict[str, Any] = {
        "obs_size": spec.obs_size,
        "action_size": spec.action_size,
        "hidden": config.hidden,
        "layer_norm": config.layer_norm,
    }
    weights = {"paper": PAPER, "tflearn": TFLEARN}[config.weights]
    head = Scalar() if config.atoms is None else Categorical(config.value_low or 0.0, config.value_high or 0.0, config.atoms)
    agent = Agent(
        actor=Actor(**sizes, weights=weights),
        critic=Critic(**sizes, weights=weights, action_layer=config.action_layer, outputs=config.atoms),
        noise=noise(config, spec),
        actor_lr=rate(config, config.actor_lr, config.actor_lr_end, config.delay),
        critic_lr=rate(config, config.critic_lr, config.critic_lr_end, 1),
        gamma=config.gamma,
        tau=config.tau,
        batch=config.batch,
        head=head,
        critics=config.critics,
        delay=config.delay,
        smoothing=None if config.smoothing is None else Smoothing(config.smoothing, config.smoothing_clip),
        n_step=config.n_step,
        normalize=config.normalize,
        reward_scale=config.reward_scale,
        weight_decay=config.weight_decay,
        grad_clip=config.grad_clip,
        precision=precise(config),
    )
    priority = None if config.priority is None else Priority(config.priority, config.priority_beta)
    updates = Fraction(config.updates).limit_denominator(1_000_000)
    return Plan(agent, config.envs, config.capacity, config.warmup, config.uniform, updates, priority, split(config.devices))


def precise(config: Config) -> Any:
    """The precision that the settings name, if what computes here has it."""
    import jax

    if config.precision not in (None, "float32") and jax.default_backend() == "cpu":
        raise InputError(f"--precision {config.precision}: on a CPU products are float32; leave it out, or train on a GPU")
    return config.precision


def noise(config: Config, spec: Spec) -> Any:
    """The exploration that the settings name."""
    sigma: Any = config.sigma[0] if len(config.sigma) == 1 else config.sigma
    if config.sigma_end is not None:
        from swingup.core.schedules import Linear

        sigma = Linear(sigma, config.sigma_end, max((config.steps - config.warmup) // config.envs, 1))
    from swingup.core.noise import EpisodeDecay, Gaussian, OrnsteinUhlenbeck, Pink

    if config.noise == "decay":
        return EpisodeDecay(tuple((high - low) / 2 for low, high in zip(spec.low, spec.high, strict=True)))
    return {"gaussian": Gaussian, "ou": OrnsteinUhlenbeck, "pink": Pink}[config.noise](sigma)


def rate(config: Config, start: float, end: float | None, every: int) -> Any:
    """A step size, or its line from start to end over the run's updates, one in `every`."""
    from swingup.core.schedules import Linear

    updates = max(int((config.steps - config.warmup) * config.updates / every), 1)
    return start if end is None else Linear(start, end, updates)


def make_loop(config: Config, envs: Envs, **device: Any) -> Loop:
    """The loop for these environments; it lets us look at every step at which something is logged, evaluated or saved.

    device: where the fused one is to compute, if not alone (`FusedLoop`).
    """
    from swingup.reports.metrics_logger import interval

    made_plan = plan(config, envs.testing.spec)
    every = (interval(made_plan.rows), config.eval_every, config.save_every or config.eval_every)
    if not in_jax(config.env):
        from swingup.loops.host import HostLoop

        return HostLoop(made_plan, envs.training, config.seed, every=every, end=config.steps)
    from swingup.loops.fused import FusedLoop

    return FusedLoop(made_plan, envs.training, config.seed, limit=config.episode_steps, every=every, end=config.steps, **device)


def enough_memory(config: Config, width: int) -> None:
    """InputError, with the largest capacity that fits, where replay will not fit into memory."""
    row = 4 * (width + (2 if config.priority is not None else 0))
    free = runtime.free_memory() * 0.9
    if config.capacity * row > free:
        raise InputError(
            f"--capacity {config.capacity}: replay takes {config.capacity * row / 2**30:,.1f} GiB and {free / 2**30:,.1f} are free; "
            f"the largest that fits is {int(free // row)}"
        )
