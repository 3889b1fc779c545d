"""From demonstrations to a LoRA adapter: the loop, its loss, the fast layers, and the process they run in.

`defaults`, `runs` and `process` are for the app and never import torch; everything else runs in the trainer process.
"""
