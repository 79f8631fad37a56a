"""What holds for all tests."""

from hypothesis import settings

# How long one example takes depends on what else the machine does, and is for benchmarks to tell.
settings.register_profile("wsroute", deadline=None)
settings.load_profile("wsroute")
