"""How fast the service decides, and what its callers notice of roll-outs and faults."""
