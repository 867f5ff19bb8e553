"""Removal requests, previews and approvals, and changes and ends of opt-outs."""
