"""A multi-cell downlink simulator for slicing, in NumPy; it knows nothing of learning."""
