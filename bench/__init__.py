"""Measurements. `python -m bench` runs them all; `python -m bench training store` some of them."""
