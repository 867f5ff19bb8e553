"""The manifest of sealed files, and the turns in which they are written. Readers open only files that are listed."""
