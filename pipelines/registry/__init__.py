"""Who opted out: subjects, identities, templates, references, and the seeds that confirmations leave."""
