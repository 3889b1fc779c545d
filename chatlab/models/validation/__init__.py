"""Model folders that did not come with the app, tried in a process that can be spared before the app opens them."""
