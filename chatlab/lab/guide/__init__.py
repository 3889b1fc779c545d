"""What to do next: from symptoms to remedies, and a checklist ticked by measurements."""
