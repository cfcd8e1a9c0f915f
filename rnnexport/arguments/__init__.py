"""What the arguments of the public functions are declared with."""
