"""Training runs: asked for, watched, evaluated, published, compared with one that learned without the mask."""
