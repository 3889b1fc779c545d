"""GGUF files from elsewhere: read, checked and tried in a limited process before they are opened."""
