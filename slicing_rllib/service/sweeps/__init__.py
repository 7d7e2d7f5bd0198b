"""Sweeps: one config with varied settings on Ray Tune, to find the settings that do best."""
