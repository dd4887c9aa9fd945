"""Small operations on texts: sentences, spans, equality."""
