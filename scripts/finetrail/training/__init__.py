"""Fine-tuning: settings, rows, hardware, the trainer, and merging."""
