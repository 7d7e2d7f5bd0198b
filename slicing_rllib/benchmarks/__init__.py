"""What `slicing-rllib bench` runs. Nothing here is imported by the packages it measures."""
