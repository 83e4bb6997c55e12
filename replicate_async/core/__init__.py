"""The protocol without the network: pure decisions and parsers that do no I/O."""
