"""Texts to vectors, by an embedding model in a process of its own."""
