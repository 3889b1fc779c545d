"""A base or an adapter written as GGUF, for llama.cpp and for Ollama."""
