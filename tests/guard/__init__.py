"""The folder that the Python path of a fast test's child processes begins with."""
