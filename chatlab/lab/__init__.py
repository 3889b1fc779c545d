"""The use cases of Chatlab; whoever shows it to a person builds one `Lab` and asks it."""

from chatlab.lab.lab import Health, Lab

__all__ = ["Health", "Lab"]
