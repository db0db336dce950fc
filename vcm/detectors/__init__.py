"""Detectors: what one is, and the kinds that come with vcm."""
