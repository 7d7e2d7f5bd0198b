"""The command line: commands, grouped as the folders are."""
