"""Data sets in and out of the Demonstrations tab."""
