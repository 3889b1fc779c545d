"""The Guide tab."""
