"""Encoders on packed batches, their sizes, and the edge towards transformers."""
