"""What the command line offers, a file per command."""
