"""How right people and maps are."""
