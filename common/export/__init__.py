"""ONNX out: `graph` writes it, `parity` compares it with torch, `quantize` makes it int8, `score` rates it.

`python -m common.export run` runs it without torch: `session` opens the file, `tasks` finds what its task needs, which
is `scenes` for segmentation and else a `runner` that another package offers. Imports nothing, so that this stays light.
"""
