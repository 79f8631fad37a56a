"""Logging, metrics and the health endpoints that the processes share."""
