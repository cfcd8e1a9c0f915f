"""A bundle in use: predictors, streams, and the series that they read."""
