"""What is kept of hits, so that looks, appeals and statements need no source: sealed under the person's key."""
