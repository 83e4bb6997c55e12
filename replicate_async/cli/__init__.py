"""The command line, which comes with the extra ``cli``; ``app.run`` is its entry."""
