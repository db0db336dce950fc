"""Mirrors: where a locked file's bytes are asked for before its origin is."""
