"""What should happen after a call, as values: facts and rules in, a decision out. Pure; knows pydantic and CEL only."""
