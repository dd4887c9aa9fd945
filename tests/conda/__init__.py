"""The rules in conda environments: `make test-conda`."""
