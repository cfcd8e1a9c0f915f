"""What the functions of rnnexport give, and how they were called."""
