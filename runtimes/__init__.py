"""Runtime definitions: one TOML file each."""
