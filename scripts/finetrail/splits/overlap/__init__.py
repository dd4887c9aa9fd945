"""What texts share: near-duplicates within a set, and n-grams between sets."""
