"""How conversations are written down: turns of many spellings, one text, a tree; with tools and reasoning."""
