"""Two real ranks over gloo."""
