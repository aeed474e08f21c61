"""Metrics and the evaluation loop."""
