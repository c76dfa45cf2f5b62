"""Sinks of events outside the result: the console and Weights & Biases."""
