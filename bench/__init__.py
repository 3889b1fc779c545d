"""Measurements. `python -m bench` runs them all; `python -m bench loop store` some of them."""
