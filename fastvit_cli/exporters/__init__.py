"""Files that other programs run: one file a format, one table of formats, the check that follows every export."""
