"""Environments written in JAX that come with swingup."""
