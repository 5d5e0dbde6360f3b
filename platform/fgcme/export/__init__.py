"""Fitted models for use elsewhere: as an ONNX graph, and as a folder for the Hugging Face hub."""
