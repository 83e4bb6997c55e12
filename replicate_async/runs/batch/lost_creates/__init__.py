"""Finding out whether a create happened whose answer was lost."""
