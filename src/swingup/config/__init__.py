"""Every setting of a run, and the presets that give them values."""
