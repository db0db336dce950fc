"""OCI registries: who may ask them, what is in them, how something gets there."""
