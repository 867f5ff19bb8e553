"""The manifest of sealed files, and whose turn it is to change them. Readers open what is listed here, nothing else."""
