"""Ops, a folder each: plain-torch reference, Triton kernel, public op. Knows nothing of bench."""
