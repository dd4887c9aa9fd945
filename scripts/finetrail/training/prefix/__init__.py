"""Models that read an image as a prefix of soft tokens."""
