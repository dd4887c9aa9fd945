"""Tiny models made on the spot, for tutorials and tests."""
