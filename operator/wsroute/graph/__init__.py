"""What the objects mean together: references, admission, ownership of hosts, endpoints, problems. Pure."""
