"""The fastest way to run one model on this machine within an error budget."""
