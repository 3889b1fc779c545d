"""How well a model does, measured before and after training: replies, votes, difficulty, checkpoints."""
