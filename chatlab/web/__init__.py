"""What is served: the ASGI app around the page, uploads, and how it ends."""
