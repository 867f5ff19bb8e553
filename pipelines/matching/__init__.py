"""Faces and names compared: new items with everybody, one person with everything; and the record of what is covered."""
