"""The settings as typed keywords of `swingup.train`; written by tests/config/test_keywords.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from swingup.config.settings import Activation, EvalEnv, Kept, Noise, Order, Place, Strategy, Weights
from swingup.types import Precision


class Settings(TypedDict, total=False):
    """The fields of `Config` that are keywords of `swingup.train`; each has the field's meaning and range."""

    env_preset: str
    seed: int
    from_run: str | None
    from_keep: Kept
    episode_lines: bool
    callback: str | None
    steps: int
    episodes: int | None
    episode_steps: int | None
    env_kwargs: dict[str, Any] | None
    eval_env_kwargs: dict[str, Any] | None
    wrapper: str | Sequence[str]
    action_low: float | Sequence[float] | None
    action_high: float | Sequence[float] | None
    envs: int
    workers: int | None
    on: Place | None
    order: Order
    hidden: Sequence[int]
    actor_hidden: Sequence[int] | None
    critic_hidden: Sequence[int] | None
    activation: Activation
    action_layer: int
    weights: Weights
    layer_norm: bool
    history: int | None
    residual: bool
    normalize: bool
    actor_lr: float
    critic_lr: float
    actor_lr_end: float | None
    critic_lr_end: float | None
    batch: int
    updates: float
    block: int
    weight_decay: float | None
    grad_clip: float | None
    gamma: float
    tau: float
    n_step: int
    delay: int
    smoothing: float | None
    smoothing_clip: float
    reward_scale: float | None
    capacity: int
    warmup: int
    priority: float | None
    priority_beta: float
    hindsight: Strategy | None
    relabel: int
    demos: str | None
    demo_share: float | None
    noise: Noise
    schedule_steps: int | None
    sigma: float | Sequence[float]
    sigma_end: float | None
    ou_theta: float
    ou_dt: float
    uniform: bool
    critics: int
    dropout: float | None
    batch_norm: bool
    atoms: int | None
    value_low: float | None
    value_high: float | None
    eval_env: EvalEnv
    eval_every: int
    eval_episodes: int
    final_episodes: int
    within: float | None
    guard_collapse: bool
    stop_return: float | None
    patience: int | None
    save_every: int | None
    keep: int
    keep_every: int | None
    devices: int
    threads: int
    precision: Precision | None
