"""What is asked for: frozen dataclasses, YAML layers, dotted overrides. No torch."""
