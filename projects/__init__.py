"""One laboratory per folder."""
