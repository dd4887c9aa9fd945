"""Scores of answers, and intervals that say how sure they are."""
