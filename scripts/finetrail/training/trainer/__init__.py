"""The trainer: model, rows, batches, arguments and the log of its steps."""
