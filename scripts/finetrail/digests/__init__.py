"""What decides whether a job runs again: digests of code, environments and original files."""
