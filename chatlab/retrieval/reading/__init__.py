"""Documents read in a process of their own: told by content, their text extracted and cut into passages."""
