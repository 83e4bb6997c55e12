"""Running a model over many inputs, each created once; ``client.batch``."""
