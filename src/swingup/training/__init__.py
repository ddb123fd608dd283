"""A training run, from settings to a policy: its parts, their order, checkpoints and evaluations."""
