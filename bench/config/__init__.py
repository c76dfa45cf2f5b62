"""What is asked for: an experiment's config, from YAML files and overrides. No torch.

Begin with schema.py, which says what there is to set, and load.py, which reads it.
"""
