"""One page of all that bundles hold: for people who did not run the commands."""
