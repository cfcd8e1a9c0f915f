"""Inference libraries: one adapter per file."""
