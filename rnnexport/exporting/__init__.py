"""From a trained model to a bundle: puts the floors below together."""
