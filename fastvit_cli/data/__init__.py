"""Where images come from, transforms, the loader, the built-in demo data set."""
