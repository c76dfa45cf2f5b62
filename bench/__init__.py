"""headstart's harness: how much sooner pretrained weights reach an accuracy than random ones."""
