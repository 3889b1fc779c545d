"""Learning from preferences: pairs of answers, of which one was preferred, and single answers with a thumb."""
