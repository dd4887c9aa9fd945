"""The offline teacher: a rule-based stand-in for a language model, served on this machine."""
