"""Where results come from: which outputs may be adopted that Snakemake did not see finish."""
