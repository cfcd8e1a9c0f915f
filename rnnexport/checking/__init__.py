"""`rnnexport check`: one verdict on models, for continuous integration."""
