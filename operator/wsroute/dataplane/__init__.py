"""What a balancer must serve, without Kubernetes and without nginx, and how it travels to its pods. Pure."""
