"""What runs a model inside a replica."""
