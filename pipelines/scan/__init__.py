"""From an item's content to what can be compared: faces, ratings, CLIP vectors, concepts, fingerprints."""
