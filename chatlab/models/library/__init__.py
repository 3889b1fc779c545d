"""Every model that a person has: included, left here by other programs, added by path, downloaded from the hub."""
