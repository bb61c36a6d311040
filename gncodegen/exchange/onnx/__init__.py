"""ONNX in and out; needs the package onnx (`pip install 'gncodegen[onnx]'`)."""
