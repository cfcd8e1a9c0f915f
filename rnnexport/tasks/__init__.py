"""Data sets: one file each, with loading, splitting, metric and baseline."""
