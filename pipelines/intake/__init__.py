"""Items as they come in: the ledger, listings, fetching, model files, texts, and what is tried again."""
