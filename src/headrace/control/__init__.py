"""The control plane: store, API, loops."""
