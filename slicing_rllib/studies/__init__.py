"""Experiments and sweeps: many runs, compared in tables and figures."""
