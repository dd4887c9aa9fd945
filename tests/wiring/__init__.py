"""How the parts hang together: imports, rules, dry runs."""
