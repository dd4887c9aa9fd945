"""The web: searches that are paid, and pages that others wrote; both are kept in the call store."""
