"""The plumbing: files and folders, child processes, the machine, the log. Imports the errors and settings alone."""
