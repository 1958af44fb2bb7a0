"""A table of boxes."""
