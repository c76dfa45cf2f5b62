"""Each op against its meaning: the reference, the compiled CPU path, the Triton kernel interpreted,
compiled and on a GPU.
"""
