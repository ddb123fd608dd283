"""Reports on runs for people: callbacks, logs, diagnostics, progress, curves, graphs and videos."""
