"""Many runs of one training on this machine, one for each seed."""
