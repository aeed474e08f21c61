"""The timer and the runs it measures."""
