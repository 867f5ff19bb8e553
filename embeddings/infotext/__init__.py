"""What a picture file says of its making: prompts, LoRAs, model names and hashes, captions."""
