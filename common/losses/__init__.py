"""Losses on logits: parts that add up over batches and ranks, and what divides them."""
