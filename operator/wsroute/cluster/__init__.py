"""What we know about the cluster: slim records, tolerant parsing, the state with list-and-replace. Pure."""
