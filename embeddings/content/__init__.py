"""What a picture shows beside faces: a content rating, and CLIP vectors of pictures and texts."""
