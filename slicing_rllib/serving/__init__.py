"""Trained policies behind an HTTP interface, and their export."""
