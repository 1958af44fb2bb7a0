"""A run's boxes as a dataset that other tools read."""
