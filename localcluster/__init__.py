"""A real one-node Kubernetes in a network namespace of one Linux machine, for tests and for the demo.

Only the standard library is used, so that ``python3 -m localcluster up`` works before any virtual environment
exists. :mod:`localcluster.api` is the door for Python, :mod:`localcluster.cli` the one for people.
"""
