"""Texts: what is put before a model, and which of its answers are kept."""
