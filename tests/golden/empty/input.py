"""A balancer without routes is ready, and answers 404."""

from tests.support.configurations import configuration

CONFIGURATION = configuration(upstreams=[], servers=[])
