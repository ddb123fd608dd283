"""The algorithm as pure functions: no file, no clock, no environment."""
