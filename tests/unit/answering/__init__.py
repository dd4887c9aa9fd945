"""The deployed system: what it looks up before it answers."""
