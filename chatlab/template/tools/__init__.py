"""How a prompt writes tools, calls and results: a chat template's own format, or plain words."""
