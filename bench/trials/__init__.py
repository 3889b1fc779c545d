"""Trials on real models: jobs made of token ids, run on whatever device there is, and judged afterwards."""
