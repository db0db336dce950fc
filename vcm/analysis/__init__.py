"""The analysis of a video, on locked models only."""
