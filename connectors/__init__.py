"""Other people's APIs, translated. Knows no tenant, no database and no queue."""
