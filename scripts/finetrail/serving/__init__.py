"""Servers of our own: start, watch and stop vLLM, transformers and the offline teacher."""
