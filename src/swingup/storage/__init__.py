"""Everything that is a file of a run."""
