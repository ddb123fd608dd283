"""Sweeps of settings, and training on several machines."""
