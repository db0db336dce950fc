"""Moving bytes from the hub to the store."""
