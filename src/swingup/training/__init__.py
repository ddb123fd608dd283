"""One run, from settings to a policy."""
