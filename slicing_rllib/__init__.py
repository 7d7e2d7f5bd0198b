"""Per-cell TD3 policies for network slicing, trained with Ray RLlib, with transfer between cells."""
