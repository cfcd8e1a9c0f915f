"""Data sets: tasks, files of the user, batches and metrics."""
