"""The page of the report: one file that needs nothing else, and its plots."""
