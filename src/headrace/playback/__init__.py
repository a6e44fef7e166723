"""The service that players ask: playlists and steering manifests from the last compiled snapshot."""
