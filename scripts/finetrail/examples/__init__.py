"""What a training example shows and says, and which examples are kept."""
