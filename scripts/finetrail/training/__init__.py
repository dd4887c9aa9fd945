"""Tiny base models, fine-tuning, merging, and what a model says and how likely it finds an answer."""
