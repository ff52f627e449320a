"""The exact oracle: filtering, smoothing, decoding, mean field, learning in context, influence, and slow references."""
