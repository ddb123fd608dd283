"""Commands that examine the machine: doctor and bench."""
