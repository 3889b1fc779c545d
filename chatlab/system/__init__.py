"""What the operating system does for Chatlab: files and folders, child processes. Imports its errors alone."""
