"""wsroute keeps WebSockets alive behind a shared nginx balancer on Kubernetes."""

__version__ = "0.1.0"
