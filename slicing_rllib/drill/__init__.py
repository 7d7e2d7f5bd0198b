"""Faults injected into real runs on a real cluster: what noticed them, and what was lost."""
