"""The training loop, its data loaders, its processes and its checkpoints."""
