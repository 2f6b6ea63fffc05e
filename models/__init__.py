"""Train a session model on clicks, and serve it as an ONNX bundle. Workers import `serving` alone, without torch."""
