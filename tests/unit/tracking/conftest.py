"""The tiny base and rows of the training tests."""

from tests.unit.training.conftest import base_dir, rows, texts

__all__ = ["base_dir", "rows", "texts"]
