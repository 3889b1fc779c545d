"""The trainer process, its client in the app, and the folder of a run that both read and write."""

IMPORTED = ("chatlab.training.run", "chatlab.training.correction", "transformers.models.llama.modeling_llama")
"""What is imported before a process that trains or scores is forked: most of what it would import itself."""
