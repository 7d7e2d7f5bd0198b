"""Ways to train one policy per cell on the same network, for `bench learning`."""
