"""Checkpoints of a training: written whole, kept, resumed and published."""
