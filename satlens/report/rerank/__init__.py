"""A rerank: whether an early rank is right more often, and what it is good for."""
