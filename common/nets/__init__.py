"""Networks by name: `backbone` (encoder and decoder) and `head`."""
