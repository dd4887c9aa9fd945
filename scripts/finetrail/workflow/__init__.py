"""What the rules ask: of a script what it declares, of the configuration what is made, from what, and with what."""
