"""llama.cpp: a base and its adapters as GGUF files, made from safetensors, and the engine that runs them."""
