"""What a run looks like from outside: SLURM's queue, the runs' own records, and who still works in a folder."""
