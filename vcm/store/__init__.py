"""The disk: the only code that writes files."""
