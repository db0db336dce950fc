"""From requirements to a lock: what the hub means by them today, and what it says since."""
