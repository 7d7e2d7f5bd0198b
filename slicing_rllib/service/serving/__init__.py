"""Trained policies behind an HTTP interface on Ray Serve."""
