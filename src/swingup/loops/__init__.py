"""Loops that make rows and learn from them: no file and no clock."""
