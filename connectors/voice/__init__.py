"""Voice platforms' wire formats: verify, parse, answer. Pure."""
