"""The network: the only code that opens a connection."""
