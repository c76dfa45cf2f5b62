"""Each op against its meaning.

The reference, the compiled CPU path, and the Triton kernel: interpreted, compiled and on a GPU.
"""
