"""Transactions, and what every table is made of."""
