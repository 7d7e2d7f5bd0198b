"""The metrics of a run: for Prometheus through Ray, and for experiment trackers."""
