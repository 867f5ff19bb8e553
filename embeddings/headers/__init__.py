"""Model files: the header of a safetensors file, and what it says of whom the model shows. No tensor is ever built."""
