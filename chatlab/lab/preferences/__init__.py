"""What a person preferred, as something to learn from."""
