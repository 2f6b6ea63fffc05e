"""The session model: data → GRU → ONNX bundle. Only `bundle` is imported where lists are served; it needs no torch."""
