"""Runtime definitions, and the processes that run them."""
