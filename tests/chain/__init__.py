"""Small whole runs of the chain."""
