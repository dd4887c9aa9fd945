"""What a training shows to Weights & Biases, and its adapters as artifacts with aliases, also without a network."""
