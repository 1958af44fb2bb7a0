"""Tests that repeat what others show, which run only where they are asked for: they take too long for every change."""

from __future__ import annotations

import os

import pytest

EVERY = "WSL_PIPELINE_ALL_FAULTS" in os.environ
"""Whether they are asked for."""
ALL = pytest.mark.skipif(not EVERY, reason="one of each kind by default: WSL_PIPELINE_ALL_FAULTS=1")
