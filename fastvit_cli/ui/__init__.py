"""What a person or a script sees: console, progress, tables, plots, JSON."""
