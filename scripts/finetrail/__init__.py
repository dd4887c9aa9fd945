"""The library that the phase scripts share; it knows neither Snakemake nor any recipe."""
