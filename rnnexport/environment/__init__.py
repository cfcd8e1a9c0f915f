"""`rnnexport doctor`: this machine, what is installed on it, and what is known to go wrong between the two."""
