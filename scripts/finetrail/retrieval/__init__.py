"""Find passages for a question: read a corpus, search it, and pick the best parts of what was found."""
