"""GGUF files: their header, the architectures that convert both ways, and their weights unpacked for training."""
