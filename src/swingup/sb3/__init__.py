"""The interface of Stable-Baselines3: `DDPG` and `TD3`, whose calls work as its users spell them."""

from swingup.sb3.model import DDPG, TD3

__all__ = ["DDPG", "TD3"]
