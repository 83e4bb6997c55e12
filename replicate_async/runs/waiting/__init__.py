"""Waiting for runs: one tracker for all waits of an account and event loop."""
