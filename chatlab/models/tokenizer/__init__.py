"""Tokenizers read by transformers: here if they are made of known parts, else in a process of their own."""
