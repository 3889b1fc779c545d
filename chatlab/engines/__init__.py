"""Engines behind one protocol, `base.Engine`. Each is imported when it is opened."""
