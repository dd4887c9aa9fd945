"""Which record belongs to train, dev or test: groups, draws and the table of splits."""
