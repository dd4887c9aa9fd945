"""Programs of phases, run whole on files of a few rows."""
