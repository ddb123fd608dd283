"""Reading and writing the files of a run: checkpoints, policies, settings and tables."""
