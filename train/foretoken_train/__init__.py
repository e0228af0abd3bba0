"""Distils KV predictors for foretoken in PyTorch."""
