"""All that crosses processes: message shapes, codec, snapshot file, HTTP client, durable files."""
