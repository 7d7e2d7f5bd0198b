"""What people run: configs, runs, commands, reports."""
