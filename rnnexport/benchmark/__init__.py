"""Latency: measuring, statistics, comparison."""
