"""Losses, schedules, parameter groups and the moving average of the weights."""
