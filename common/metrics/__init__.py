"""Metrics: pure update and compute, and a torchmetrics class, in each file."""
