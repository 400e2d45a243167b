"""Verification of kernels and networks, of this package and of others.

conformance   `mnp check`: generated cases test a module of kernels; common mistakes are named
network       the same for the pruning pipeline of a small network
stub          `mnp stub`: signatures and docstrings to fill in
golden        `mnp vectors`: arrays for other languages and frameworks
export        `mnp export`: safetensors, ONNX, PyTorch; and a state_dict back in
gradcheck     numerical gradients of a network
"""
