"""Policies as single files that act without swingup: ONNX, NumPy, C, JavaScript, Python."""
