# ruff: noqa: F401, F403 - __all__ names all of these
"""Hand-tuned SIMD kernels (AVX2, AVX-512, NEON): register tiles, fused layers; the rest is that of `jitted`.

A register tile (see `mnp.kernels.registers`) multiplies a few loaded vectors with each other and keeps the
sums in the CPU's registers. Around it:

    convolution   3x3 convolutions by short filters; the loops are in `winograd`, `winograd_gradient`, and
                  for the weights of few channels in `few_channels`
    pooled        convolution with max pooling in one; its loops are in `pooled_forward`, `pooled_backward`
    dense         dense layers, and maxout units with ReLU and dropout in one; loops in `dense_loops`
    elementwise   ReLU; the SGD update of many arrays in one call
    layouts       copies of images in the order that a loop reads them
    parallel      how a loop is shared out among threads, and how many calls become one
    compiling     how it is compiled and cached
    support       when all this can run, and memory for it

It is made for float32 and the shapes of LeNet-5 and VGG16; the tiles have the size that the CPU's registers
hold, AVX-512's or those of AVX2 and NEON (`registers.WIDE`). Whatever does not fit (float64, other strides,
a CPU without these, no compiler) runs as in `jitted`, with equal results up to rounding, as do all kernels
that are not named here.
"""

import mnp.kernels
from mnp.kernels.jitted import *  # all that is not replaced below
from mnp.kernels.tiled.convolution import conv2d_backward, conv2d_forward
from mnp.kernels.tiled.dense import dense_backward, dense_forward, dense_maxout_backward, dense_maxout_forward
from mnp.kernels.tiled.elementwise import relu_forward, sgd_step
from mnp.kernels.tiled.parallel import capture
from mnp.kernels.tiled.pooled import conv2d_maxpool2d_backward, conv2d_maxpool2d_forward
from mnp.kernels.tiled.support import available

__all__ = [*mnp.kernels.KERNELS, *mnp.kernels.FUSED, "available", "capture"]
