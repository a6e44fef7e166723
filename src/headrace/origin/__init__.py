"""Where video becomes published files: encode, package, byte store."""
