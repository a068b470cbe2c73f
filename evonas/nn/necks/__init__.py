"""Necks: feature pyramids of equal width between backbone and head."""
