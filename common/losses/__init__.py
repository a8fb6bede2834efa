"""Losses: a pure function and a thin module of the same name in each file."""
