"""Maps to people: peaks, limbs between them, bodies of limbs. NumPy alone."""
