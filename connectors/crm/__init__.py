"""What we ask of any CRM, and the CRMs that answer."""
