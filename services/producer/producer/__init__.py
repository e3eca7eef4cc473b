"""X's filtered stream, read once and published to Pub/Sub without a loss."""
