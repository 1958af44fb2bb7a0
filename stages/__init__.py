"""Stages that transform a batch of images: plain callables that know nothing about where they run."""
