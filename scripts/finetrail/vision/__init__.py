"""Images of records."""
