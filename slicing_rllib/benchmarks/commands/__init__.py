"""The subcommands of `bench`: options, help, and which benchmark they run."""
