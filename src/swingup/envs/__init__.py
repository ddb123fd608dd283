"""Environments: the interfaces that they implement, and each kind of environment."""
