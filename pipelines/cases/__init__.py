"""People who ask: removal requests, previews and approvals, changes of an opt-out, its end."""
