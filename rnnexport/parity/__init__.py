"""Proof that a runtime computes the model it was given."""
