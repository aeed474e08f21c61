"""One thing: take a batch of images, give logits - by PyTorch, ONNX Runtime, Core ML."""
