"""Which version of each policy answers: where they come from, releases, roll-out and shadow."""
