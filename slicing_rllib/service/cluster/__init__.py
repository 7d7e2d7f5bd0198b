"""Jobs on Ray clusters: job specs, the client, checks of a cluster, and what runs on it."""
