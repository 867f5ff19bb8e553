"""Intake of items: the ledger, listings, fetching, model files, texts, and retries."""
