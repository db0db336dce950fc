"""The store as a Hub for its neighbours: read-only, only what is installed, over plain HTTP."""
