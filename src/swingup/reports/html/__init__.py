"""Pages that need no network: charts, styles and the live canvas of a report."""
