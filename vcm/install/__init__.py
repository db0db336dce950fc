"""Moving bytes into the store: from the hub, from folders, from the Hugging Face cache."""
