"""Commands that look at the machine: doctor and bench."""
