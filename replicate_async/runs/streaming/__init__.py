"""Streaming the output of a prediction: connections, reading, resuming."""
