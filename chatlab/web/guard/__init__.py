"""The middleware in front of the page: who may ask, for what, and how errors are answered."""
