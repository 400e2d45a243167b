"""Speed of the kernels beside other frameworks: what `mnp bench` measures. Nothing here asserts.

timing     interleaved timing, peak of the machine, load
cases      training, inference, ranking, sparse layers: each with its baselines
scaling    cost against batch size and width, first use, memory: without baselines
baselines  the same networks in PyTorch, ONNX Runtime and OpenVINO
others     and in JAX and tinygrad
roofline   each kernel against the machine's peak and bandwidth
report     groups of cases, their rows as a report
"""
