"""What a trained model says, and how likely it finds an answer."""
