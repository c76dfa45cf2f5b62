"""Training batches from resident uint8 images in one pass.

Gather, crop, flip, cutout, normalise, cast: reference.py is the meaning, op.py the public function.
"""
