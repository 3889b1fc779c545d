"""Knowledge: documents read, cut into passages, indexed by words and by meaning, and found again.

Nothing is imported here: reading and embedding each start a process that needs one module of these.
"""
