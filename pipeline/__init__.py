"""What happens to a run: configuration, manifest, shards, executors, results."""

__version__ = "0.3.0"
