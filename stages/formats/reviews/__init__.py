"""Corrections that people made in other tools."""
