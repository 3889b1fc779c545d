"""What every room needs of the operating system: files and folders."""
