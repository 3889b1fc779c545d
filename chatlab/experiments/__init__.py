"""The builder's guide to fine-tuning, claim by claim, measured on this base: what reproduces here and what does not."""
