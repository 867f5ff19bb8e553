"""Bytes to pixels: containers, decoding within limits, what viewers show of them, perceptual hashes."""
