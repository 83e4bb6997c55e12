"""Typed models: their checks, the methods that take them, and what `client.use` returns."""
