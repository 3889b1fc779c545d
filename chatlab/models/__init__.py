"""Base models on disk: found, checked, fingerprinted, opened without torch.

Nothing is imported here: a download, a tokenizer and a validation each start a process that needs one module of these.
"""
