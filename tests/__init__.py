"""The tests; a package, so that their parts can share helpers."""
