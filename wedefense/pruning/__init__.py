"""Learn which units of a pretrained encoder to keep while it is fine-tuned, and cut the others out."""
