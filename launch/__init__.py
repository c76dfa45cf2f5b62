"""What starts headstart: accelerate's files, and the scripts behind make's verbs.

Holds no hyper-parameters.
"""
