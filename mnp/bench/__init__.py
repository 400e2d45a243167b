"""How fast the kernels are, side by side with other frameworks: what `mnp bench` measures.

    timing   interleaved rounds, the machine's own peak, how busy it is
    cases    the cases, each a dict of things to call in turn
    peers    PyTorch and ONNX Runtime, set up as well as they can be
    growth   cost against batch and width, first use, memory: what has no peer

Speed is shown by a benchmark, never by a timed test: nothing here asserts.
"""
