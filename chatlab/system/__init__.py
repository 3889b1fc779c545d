"""What the operating system does for Chatlab. Imports nothing of the app but its errors."""
