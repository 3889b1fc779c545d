"""How well a voice does: measured before and after training."""
