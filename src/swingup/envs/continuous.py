"""Gymnasium's ids whose actions are choices, and the most similar ones whose actions are real numbers."""

CONTINUOUS = {
    "LunarLander": "LunarLanderContinuous-v3",
    "MountainCar": "MountainCarContinuous-v0",
    "CartPole": "InvertedPendulum-v5",
    "Acrobot": "Pendulum-v1",
}
