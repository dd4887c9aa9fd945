"""The workflow on a real SLURM cluster, which runs on this machine as long as the tests do."""
