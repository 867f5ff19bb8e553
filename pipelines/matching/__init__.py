"""Compares faces and names: new items with everybody, one person with everything; and records coverage."""
