"""Hugging Face image folders."""
