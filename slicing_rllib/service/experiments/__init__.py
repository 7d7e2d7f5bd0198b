"""Experiments: several arms (ways to train) on several seeds, compared in tables and figures."""
