"""Environments: the contract that every kind keeps, and the kinds."""
