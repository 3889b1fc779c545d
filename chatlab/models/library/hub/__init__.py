"""Models from the hub: what a repository holds, a download under way, and what was downloaded."""
