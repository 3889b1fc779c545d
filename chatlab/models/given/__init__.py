"""Chat templates for bases that bring none: those written here, and those that a person gave."""
