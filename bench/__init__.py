"""Measurements. Nothing here is a test: figures vary with the machine, so read medians and ratios."""
