"""Plots, each from the numbers of a report."""
