"""Chatlab: talk to a model on your own machine, correct it, retrain it, and talk to the changed model."""

__version__ = "0.1.0"
