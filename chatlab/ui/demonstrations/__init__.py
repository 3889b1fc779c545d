"""The Demonstrations tab."""
