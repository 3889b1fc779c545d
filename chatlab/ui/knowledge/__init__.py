"""The Knowledge tab: documents dropped, what was read of them, and a question tried on them."""
