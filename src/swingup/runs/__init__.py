"""Runs that were trained, opened again."""
