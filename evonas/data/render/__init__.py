"""A small ray caster in NumPy: textured, lit scenes with exact depth, masks and poses."""
