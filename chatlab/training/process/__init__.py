"""The trainer process, its client in the app, and the folder of a run that both read and write."""
