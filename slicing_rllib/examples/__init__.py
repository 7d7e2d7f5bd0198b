"""Short programs to copy: each shows one thing, and runs as it is."""
