"""How anyone checks an implementation, this one or theirs.

conformance   `mnp check`: generated cases judge a module of kernels and name its mistakes
network       the same for one pruning round of a small network
stub          `mnp stub`: signatures and docstrings to fill in
golden        `mnp vectors`: arrays for other languages and frameworks
export        `mnp export`: safetensors, ONNX, PyTorch; and a state_dict back in
accuracy      how far each float32 kernel may be from the definition
gradcheck     numerical gradients of a network
"""
