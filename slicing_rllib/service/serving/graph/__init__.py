"""Policies as ONNX graphs, and their comparison with NumPy."""
