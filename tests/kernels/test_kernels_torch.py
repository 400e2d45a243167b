"""Every kernel beside PyTorch's own: 1e-6 of the largest element in float32, 1e-12 in float64.

PyTorch is the outside judge; the gradients are its autograd's. Where it breaks a tie or takes a sum in
another order than this project defines, the inputs here have no ties, and the test says so.
"""

import numpy as np
import pytest
from kernel_cases import Sizes, arguments, call, copied
from tolerances import TORCH, assert_results_close

from mnp.kernels import KERNELS, jitted, textbook

torch = pytest.importorskip("torch")
F = pytest.importorskip("torch.nn.functional")

LENET = Sizes(n=4, channels=20, height=12, width=12, filters=52, kh=5, kw=5, units=16, k=4)
CASES = {
    "small": Sizes(),
    "strided": Sizes(n=2, channels=3, height=9, width=8, stride=2, padding=1, size=3, pool_stride=2),
    "padded": Sizes(
        n=1, channels=1, height=6, width=7, kh=5, kw=4, stride=3, padding=2, size=2, pool_stride=3
    ),
    "overlapping": Sizes(n=5, channels=9, height=8, width=8, padding=1, size=3, pool_stride=1, k=1),
    "lenet": LENET,
}


def t(array, grad=False):
    """An array as a tensor of its own memory."""
    tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor.requires_grad_() if grad else tensor


def gradients(y, dy, *inputs):
    return tuple(g.numpy() for g in torch.autograd.grad(y, inputs, t(dy)))


def conv2d_forward(x, weight, bias, stride, padding):
    return F.conv2d(t(x), t(weight), t(bias), stride, padding).numpy()


def conv2d_backward(dy, x, weight, stride, padding):
    x, weight, bias = (
        t(x, True),
        t(weight, True),
        torch.zeros(len(weight), dtype=t(x).dtype, requires_grad=True),
    )
    return gradients(F.conv2d(x, weight, bias, stride, padding), dy, x, weight, bias)


def maxpool2d_forward(x, size, stride):
    y, place = F.max_pool2d(t(x), size, stride, return_indices=True)
    row, column = place // x.shape[3], place % x.shape[3]  # PyTorch's places count in the whole image
    row -= torch.arange(y.shape[2])[:, None] * stride
    column -= torch.arange(y.shape[3]) * stride
    return y.numpy(), (row * size + column).numpy()


def maxpool2d_backward(dy, winner, x_shape, size, stride):
    x = torch.zeros(x_shape, dtype=t(dy).dtype, requires_grad=True)
    windows = F.unfold(x, size, stride=stride).view(*x_shape[:2], size * size, *dy.shape[2:])
    return gradients(windows.gather(2, t(winner)[:, :, None])[:, :, 0], dy, x)[0]


def avgpool2d_forward(x, size, stride):
    return F.avg_pool2d(t(x), size, stride).numpy()


def avgpool2d_backward(dy, x_shape, size, stride):
    x = torch.zeros(x_shape, dtype=t(dy).dtype, requires_grad=True)
    return gradients(F.avg_pool2d(x, size, stride), dy, x)[0]


def dense_forward(x, weight, bias):
    return F.linear(t(x), t(weight), t(bias)).numpy()


def dense_backward(dy, x, weight):
    x, weight, bias = (
        t(x, True),
        t(weight, True),
        torch.zeros(len(weight), dtype=t(x).dtype, requires_grad=True),
    )
    return gradients(F.linear(x, weight, bias), dy, x, weight, bias)


def maxout_forward(z):
    y, winner = t(z).max(dim=2)
    return y.numpy(), winner.numpy()


def maxout_backward(dy, winner, k):
    z = torch.zeros((*dy.shape, k), dtype=t(dy).dtype, requires_grad=True)
    return gradients(z.gather(2, t(winner)[:, :, None])[:, :, 0], dy, z)[0]


def relu_forward(x):
    return F.relu(t(x)).numpy()


def relu_backward(dy, y):
    x = t(y, True)  # y = relu(y), so it will do for x
    return gradients(F.relu(x), dy, x)[0]


def dropout_forward(x, keep, p):
    return (
        t(x) * t(keep) / (1 - p)
    ).numpy()  # F.dropout draws its own positions; this is what it does with them


def dropout_backward(dy, keep, p):
    return torch.ops.aten.native_dropout_backward(t(dy), t(keep), 1 / (1 - p)).numpy()


def softmax_cross_entropy(logits, labels):
    logits = t(logits, True)
    loss = F.cross_entropy(logits, t(labels))
    return loss.detach().numpy()[()], torch.autograd.grad(loss, logits)[0].numpy()


def win_counts(winner, k):
    return F.one_hot(t(winner), k).sum(dim=0).numpy()


def batchnorm2d_forward(x, weight, bias, eps):
    mean, var = torch.zeros_like(t(weight)), torch.zeros_like(t(weight))
    y = F.batch_norm(t(x), mean, var, t(weight), t(bias), training=True, momentum=1.0, eps=eps)
    m = x.size // x.shape[1]
    return y.numpy(), mean.numpy(), (var * ((m - 1) / m)).numpy()  # PyTorch's running variance is by M - 1


def batchnorm2d_inference(x, weight, bias, mean, var, eps):
    return F.batch_norm(t(x), t(mean), t(var), t(weight), t(bias), eps=eps).numpy()


def batchnorm2d_backward(dy, x, weight, mean, var, eps):
    x, weight, bias = (
        t(x, True),
        t(weight, True),
        torch.zeros(len(weight), dtype=t(x).dtype, requires_grad=True),
    )
    return gradients(F.batch_norm(x, None, None, weight, bias, training=True, eps=eps), dy, x, weight, bias)


def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    parameters = [torch.nn.Parameter(t(w)) for w in weights]
    optimizer = torch.optim.SGD(parameters, lr, momentum, weight_decay=weight_decay)
    for parameter, g, v in zip(parameters, grads, velocities, strict=True):
        parameter.grad = t(g)
        optimizer.state[parameter]["momentum_buffer"] = t(v)
    optimizer.step()
    for parameter, w, v, mask in zip(parameters, weights, velocities, masks, strict=True):
        kept = True if mask is None else mask
        w[...] = np.where(kept, parameter.detach().numpy(), 0)
        v[...] = np.where(kept, optimizer.state[parameter]["momentum_buffer"].numpy(), 0)


def test_a_judge_for_every_kernel():
    assert all(callable(globals()[kernel]) for kernel in KERNELS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("module", [textbook, jitted])
@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_pytorch(kernel, module, dtype):
    for name, s in CASES.items():
        args = arguments(kernel, s, np.random.default_rng(7), dtype)
        args = tuple(
            a.astype(np.int64) if isinstance(a, np.ndarray) and a.dtype.kind == "i" else a for a in args
        )
        if kernel == "sgd_step":
            expected_args = copied(args)
            sgd_step(*expected_args)
            expected = (*expected_args[0], *expected_args[2])
        else:
            expected = globals()[kernel](*args)
        bound = TORCH[dtype.__name__]
        assert_results_close(call(module, kernel, args), expected, bound, f"{kernel}, {name}")


def test_ties_go_where_pytorch_sends_them():
    """`max(dim)` gives all gradient to the first index, as here; `amax` would share it out."""
    z = np.array([[[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]])
    tensor = t(z, True)
    (expected,) = torch.autograd.grad(tensor.max(dim=2).values.sum(), tensor)
    (shared,) = torch.autograd.grad(tensor.amax(dim=2).sum(), tensor)
    for module in (textbook, jitted):
        dz = module.maxout_backward(np.ones((1, 2)), module.maxout_forward(z)[1], 3)
        np.testing.assert_array_equal(dz, expected.numpy())
        assert (dz != shared.numpy()).any()
