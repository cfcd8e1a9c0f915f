"""Why a runtime is wrong: where it goes wrong first, and which known fault explains its answers."""
