"""Saying yes or no: only the locked bytes get through."""
