"""The commands; each is a function whose parameters are its arguments."""
