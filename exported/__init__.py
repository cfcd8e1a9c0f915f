"""Where exports land; the reference bundles are kept in git and shipped."""
