"""Jobs on Ray clusters, and checks of clusters."""
