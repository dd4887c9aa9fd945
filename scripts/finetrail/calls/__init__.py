"""Paying for answers: the call store, limits, retries, budgets and money; for models and for search alike."""
