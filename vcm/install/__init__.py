"""Moving bytes from the hub to the store: locking and syncing."""
