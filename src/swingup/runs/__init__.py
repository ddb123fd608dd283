"""Runs and groups opened again after training, and their comparison."""
