"""Everybody's joints in an image: heatmaps of joints and part affinity fields of limbs."""
