"""Weights and values in few bits."""
