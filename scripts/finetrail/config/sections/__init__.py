"""The sections of a configuration: one file each, with the checks of its own values."""
