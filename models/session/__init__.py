"""The session model: a GRU over a visitor's clicks, how it is trained, and how it becomes an ONNX graph."""
