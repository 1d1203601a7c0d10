"""The harness that hurts delivery and then counts at the CRM. `make chaos SEEDS=20` runs it; a short form is in the suite."""
