"""Where everything comes from: digests of code, environments and original files, and the records of runs."""
