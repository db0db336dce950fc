"""Installed models → an OCI registry, which is a mirror of them from then on."""
