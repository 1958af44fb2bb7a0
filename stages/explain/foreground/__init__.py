"""Foreground by a linear function of the features, learnt from class activation maps alone."""
