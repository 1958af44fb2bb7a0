"""COCO results: a list of boxes with scores."""
