"""Schemas of models: reading them, writing them, and checking inputs with them."""
