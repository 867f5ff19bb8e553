"""Bytes to pixels: containers, decoding within limits, the walk over a PNG, perceptual hashes."""
