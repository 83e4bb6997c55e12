"""What a model takes and returns: reading and writing its schema, checking an input with it."""
