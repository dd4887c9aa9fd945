"""Answer one question at a time, as the trained pipeline is deployed: retrieve, rerank, generate."""
