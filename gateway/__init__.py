"""The gateway: knows tenants, owns every row and every promise."""
