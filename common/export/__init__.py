"""ONNX out: `graph` writes it, `parity` compares it with torch, `quantize` makes it int8, `run` runs it without torch.

Imports nothing, so that the runner stays light.
"""
