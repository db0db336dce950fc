"""Mirrors: who else has the locked bytes, and how they are asked for them."""
