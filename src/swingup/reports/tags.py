"""The tags of a run's TensorBoard curves, and what each means: TensorBoard shows it beside the curve."""

from __future__ import annotations

from swingup.reports.diagnostics import Figures

# Columns of metrics.csv and their tags, which are those of Stable-Baselines3 where it has them.
TAGS = {
    "return_mean": "rollout/ep_rew_mean",
    "length_mean": "rollout/ep_len_mean",
    "critic_loss": "train/critic_loss",
    "actor_loss": "train/actor_loss",
    "q_mean": "train/q_mean",
    "q_max": "train/q_max",
    "steps_per_second": "time/fps",
    "episodes": "time/episodes",
    **{name: f"health/{name}" for name in Figures._fields},
}

# TensorBoard sorts groups of curves by name, capitals first, and opens the first ones. This group repeats the
# curves that one looks for first, so that it stands before the 2017 tutorial's `Qmax_value` and `Reward`.
FIRST = {
    "eval/mean_reward": "Overview/evaluation_return",
    "rollout/ep_rew_mean": "Overview/training_return",
}

SCALE = "In the units of learning: rewards times --reward-scale."

ABOUT = {
    "rollout/ep_rew_mean": "Mean return of the last 100 training episodes, which explored.",
    "rollout/ep_len_mean": "Mean length of the last 100 training episodes, in steps.",
    "train/critic_loss": f"Mean loss of the critics over the updates since the point before. {SCALE}",
    "train/actor_loss": f"Minus the mean Q of the actor's own actions, which it makes smaller. {SCALE}",
    "train/q_mean": f"Mean Q of the minibatches' actions. {SCALE}",
    "train/q_max": f"Largest Q in a minibatch, averaged over the updates since the point before. {SCALE}",
    "time/fps": "Environment steps a second while training, evaluations not counted.",
    "time/episodes": "Training episodes that have ended.",
    "eval/mean_reward": "Mean return of greedy episodes on environments of their own. The last point is the "
    "closing evaluation, over more episodes.",
    "eval/mean_ep_length": "Mean length of the greedy episodes, in steps.",
    "eval/success_rate": "Share of the greedy episodes that the environment calls a success.",
    "health/q_start": "What the critic expects from the first state and action of the last ten episodes. Far "
    f"above health/return_start it overestimates. {SCALE}",
    "health/return_start": "The discounted return that followed in those ten episodes, with the critic's "
    f"value of the last state where a time limit cut one. {SCALE}",
    "health/td_error": "Root mean square difference between Q and its target, over 64 recent transitions. "
    f"It should stay small beside the spread of Q. {SCALE}",
    "health/saturation": "Share of greedy actions at one and the same bound, of the dimension where it is "
    "smallest. Near 1 the actor no longer reacts to what it observes, and its gradient vanishes.",
    "health/action_gradient": "Mean norm of dQ/da at the greedy action: what the actor learns from. At 0 it "
    "learns nothing.",
    "health/critic_gradient": "Norm of the critics' gradient, root mean square over about the last thousand "
    "updates. Steady growth comes before a divergence.",
    "health/actor_gradient": "Norm of the actor's gradient, root mean square over about the last thousand "
    "updates.",
    "health/critic_norm": "Norm of the critics' parameters. Steady growth goes with values that run away.",
    "health/actor_norm": "Norm of the actor's parameters. Growth without end drives actions to their bounds.",
    "health/noise_ratio": "Exploration beside the policy: root mean square of executed minus greedy action, "
    "over that of the greedy action.",
    "health/replay_age": "Mean age of the transitions in replay, in environment steps. It grows until the "
    "buffer is full.",
    "Reward": "Return of one training episode, by episode. The 2017 tutorial's tag.",
    "Qmax_value": "Largest Q in a minibatch, averaged over the updates of one episode, by episode. The 2017 "
    "tutorial's tag.",
}
ABOUT |= {first: ABOUT[tag] for tag, first in FIRST.items()}
