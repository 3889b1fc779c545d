"""Speed: the same computations as peft's and transformers' own forward, in fewer and larger operations.

`llama` writes a whole Llama out, forward and backward; `lora_linear` computes LoRA layers that share an input as one;
`attention` is causal attention on packed sequences; `threads` puts micro-batches on cores. Nothing here decides what is
learned: tests hold each to the plain forward.
"""
