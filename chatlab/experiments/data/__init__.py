"""What the report trains on and asks: packs, sentences made by rule, and answers corrupted on purpose."""
