"""Pictures and sentences of hits, sealed under the person's key, so that looks and appeals need no source."""
