"""The doors: the `wsroute` command and its subcommands."""
