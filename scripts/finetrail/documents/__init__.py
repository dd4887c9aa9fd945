"""Documents: bytes of any kind to normalised text with headings, code blocks and pages, and its chunks."""
