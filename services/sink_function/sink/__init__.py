"""The sink: takes Pub/Sub push messages, writes them to BigQuery in groups, acknowledges after."""
