"""What other programs left on this machine: their folders, looked through and never changed."""
