"""Files of any origin, read safely: what they declare is bounded before it is read, and nothing is unpickled."""
