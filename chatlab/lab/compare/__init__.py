"""Side by side: several adapters on one prompt or on the unseen ones, and the votes."""
