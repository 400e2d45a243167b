"""The agreed kernels on PyTorch: NumPy in, PyTorch's own operators, NumPy out.

    mnp check tests/frameworks/torch_kernels.py

Gradients come from autograd wherever the forward pass is PyTorch's. Where PyTorch leaves open which of
several equal values wins (`max(dim)` promises nothing), `first_max` decides as agreed.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

torch.set_num_threads(1)


def tensor(a):
    """Copy an array of any strides into a tensor."""
    return torch.from_numpy(np.array(a, order="C"))


def leaf(a):
    return tensor(a).requires_grad_()


def gradients(y, inputs, dy):
    """What autograd sends back to the inputs, as arrays."""
    return [g.numpy() for g in torch.autograd.grad(y, inputs, tensor(dy))]


def first_max(values):
    """Maximum along the last axis, and its first index; a NaN is a maximum, the first one wins."""
    top = values.amax(dim=-1, keepdim=True)
    is_top = torch.where(top.isnan(), values.isnan(), values == top)
    winner = is_top.to(torch.int8).cumsum(-1).eq(0).sum(-1)  # how many came before the first
    return values.gather(-1, winner[..., None])[..., 0], winner


def windows(x, size, stride):
    """All windows of an image, (N, C, OH, OW, size * size): a view, so autograd adds where they overlap."""
    return x.unfold(2, size, stride).unfold(3, size, stride).flatten(4)


def conv2d_forward(x, weight, bias, stride, padding):
    return F.conv2d(tensor(x), tensor(weight), tensor(bias), stride, padding).numpy()


def conv2d_backward(dy, x, weight, stride, padding, need_dx=True):
    x, weight = leaf(x), leaf(weight)
    bias = torch.zeros(len(weight), dtype=x.dtype, requires_grad=True)
    y = F.conv2d(x, weight, bias, stride, padding)
    if need_dx:
        return tuple(gradients(y, (x, weight, bias), dy))
    return (None, *gradients(y, (weight, bias), dy))


def maxpool2d_forward(x, size, stride):
    y, winner = first_max(windows(tensor(x), size, stride))
    return y.numpy(), winner.numpy()


def maxpool2d_backward(dy, winner, x_shape, size, stride):
    x = torch.zeros(x_shape, dtype=tensor(dy).dtype, requires_grad=True)
    y = windows(x, size, stride).gather(-1, tensor(winner).long()[..., None])[..., 0]
    return gradients(y, (x,), dy)[0]


def avgpool2d_forward(x, size, stride):
    return F.avg_pool2d(tensor(x), size, stride).numpy()


def avgpool2d_backward(dy, x_shape, size, stride):
    x = torch.zeros(x_shape, dtype=tensor(dy).dtype, requires_grad=True)
    return gradients(F.avg_pool2d(x, size, stride), (x,), dy)[0]


def dense_forward(x, weight, bias):
    return F.linear(tensor(x), tensor(weight), tensor(bias)).numpy()


def dense_backward(dy, x, weight, need_dx=True):
    x, weight = leaf(x), leaf(weight)
    bias = torch.zeros(len(weight), dtype=x.dtype, requires_grad=True)
    dx, dweight, dbias = gradients(F.linear(x, weight, bias), (x, weight, bias), dy)
    return dx if need_dx else None, dweight, dbias


def maxout_forward(z):
    y, winner = first_max(tensor(z))
    return y.numpy(), winner.numpy()


def maxout_backward(dy, winner, k):
    dy, winner = tensor(dy), tensor(winner).long()
    return torch.zeros(*dy.shape, k, dtype=dy.dtype).scatter(2, winner[..., None], dy[..., None]).numpy()


def relu_forward(x):
    return F.relu(tensor(x)).numpy()


def relu_backward(dy, y):
    y = leaf(y)  # relu(y) has the same derivative as relu(x): 1 where y > 0, else 0
    return gradients(F.relu(y), (y,), dy)[0]


def dropout_forward(x, keep, p):
    return torch.where(tensor(keep), tensor(x) / (1 - p), 0).numpy()


def dropout_backward(dy, keep, p):
    return dropout_forward(dy, keep, p)


def softmax_cross_entropy(logits, labels):
    logits = leaf(logits)
    loss = F.cross_entropy(logits, tensor(labels).long())
    (dlogits,) = torch.autograd.grad(loss, logits)
    return loss.detach().numpy()[()], dlogits.numpy()


def win_counts(winner, k):
    return F.one_hot(tensor(winner).long(), k).sum(0).numpy()


def batchnorm2d_forward(x, weight, bias, eps):
    x = tensor(x)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    y = F.batch_norm(x, mean, var, tensor(weight), tensor(bias), training=False, eps=eps)
    return y.numpy(), mean.numpy(), var.numpy()


def batchnorm2d_inference(x, weight, bias, mean, var, eps):
    x, weight, bias, mean, var = map(tensor, (x, weight, bias, mean, var))
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps).numpy()


def batchnorm2d_backward(dy, x, weight, mean, var, eps):
    # PyTorch's training mode takes the statistics of x itself, so mean and var are not needed.
    x, weight = leaf(x), leaf(weight)
    bias = torch.zeros_like(weight, requires_grad=True)
    y = F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    return tuple(gradients(y, (x, weight, bias), dy))


def sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay):
    params = [leaf(w) for w in weights]
    optimizer = torch.optim.SGD(params, lr, momentum, weight_decay=weight_decay)
    for p, g, v in zip(params, grads, velocities, strict=True):
        p.grad = tensor(g)
        if momentum:
            optimizer.state[p]["momentum_buffer"] = tensor(v)
    optimizer.step()
    for p, w, g, v, mask in zip(params, weights, grads, velocities, masks, strict=True):
        old = w.copy()
        w[...] = p.detach().numpy()
        # Without momentum PyTorch keeps no velocity: it is the gradient with its decay.
        v[...] = optimizer.state[p]["momentum_buffer"].numpy() if momentum else g + weight_decay * old
        if mask is not None:
            w[~mask] = v[~mask] = 0


def conv2d_maxpool2d_forward(x, weight, bias, stride, padding, size, pool_stride):
    z = F.conv2d(tensor(x), tensor(weight), tensor(bias), stride, padding)
    y, winner = first_max(windows(z, size, pool_stride))
    return y.numpy(), winner.numpy()


def conv2d_maxpool2d_backward(dy, winner, x, weight, stride, padding, size, pool_stride, need_dx=True):
    x, weight = leaf(x), leaf(weight)
    bias = torch.zeros(len(weight), dtype=x.dtype, requires_grad=True)
    z = F.conv2d(x, weight, bias, stride, padding)
    y = windows(z, size, pool_stride).gather(-1, tensor(winner).long()[..., None])[..., 0]
    dx, dweight, dbias = gradients(y, (x, weight, bias), dy)
    return dx if need_dx else None, dweight, dbias


def neurons(x, weight, bias, relu, keep, p):
    """z (N, units, k) before the maximum."""
    z = torch.einsum("ni,uki->nuk", x, weight) + bias
    z = F.relu(z) if relu else z
    return z if keep is None else torch.where(tensor(keep), z / (1 - p), 0)


def dense_maxout_forward(x, weight, bias, relu=False, keep=None, p=0.0):
    y, winner = first_max(neurons(tensor(x), tensor(weight), tensor(bias), relu, keep, p))
    return y.numpy(), winner.numpy()


def dense_maxout_backward(dy, y, winner, x, weight, relu=False, keep=None, p=0.0, need_dx=True):
    x, weight = leaf(x), leaf(weight)
    bias = torch.zeros(weight.shape[:2], dtype=x.dtype, requires_grad=True)
    z = neurons(x, weight, bias, False, keep, p)
    # bias is not an argument here, so where the ReLU cut is read off y.
    dy = relu_backward(dy, y) if relu else dy
    best = z.gather(2, tensor(winner).long()[..., None])[..., 0]
    dx, dweight, dbias = gradients(best, (x, weight, bias), dy)
    return dx if need_dx else None, dweight, dbias
