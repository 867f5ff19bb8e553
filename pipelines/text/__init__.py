"""Text that is shown or hidden: hostile text spelt out, private text kept out of sight, digests of what was shown."""
