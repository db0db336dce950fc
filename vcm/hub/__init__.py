"""The hub: the only code that speaks HTTP."""
