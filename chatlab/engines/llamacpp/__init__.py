"""llama.cpp: one engine, sequence slots with cached prefixes, adapters switched between two tokens."""
