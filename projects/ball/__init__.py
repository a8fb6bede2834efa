"""Find the table-tennis ball in stacked video frames."""
