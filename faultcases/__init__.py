"""What can go wrong, as tables and small drivers.

The tests run a part of each, `benchmarks/faults.py` all of it.
"""
