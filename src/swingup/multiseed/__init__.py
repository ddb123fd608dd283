"""Training of several seeds on this machine: one run for each."""
