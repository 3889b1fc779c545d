"""What the terminal does beside opening the app, a file for each group of commands."""
