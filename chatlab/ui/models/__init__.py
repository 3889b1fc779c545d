"""The Models panel: which models there are, which one answers, and how another takes its place."""
