"""The operands of a case and its answer in float64 (needs numpy)."""

import ctypes

import numpy as np

# Of the largest element of the answer. What computes in f32 throughout stays below a tenth of it; what rounds its
# operands to bf16 (4e-3) does not pass.
TOLERANCE = 1e-4


def aligned(shape):
    """Zeros that start a page."""
    count = int(np.prod(shape))
    memory = np.zeros(count + 1024, np.float32)
    start = -memory.ctypes.data % 4096 // 4
    return memory[start:start + count].reshape(shape)


def normal(generator, shape, deviation=1.0):
    values = aligned(shape)
    values[...] = generator.standard_normal(shape, np.float32) * np.float32(deviation)
    return values


def softmax_times(scores, visible, values):
    """softmax(scores) values over visible keys; scores [rows, keys]."""
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)) @ values


class Problem:
    """Attention: q, k, v [1, L, H, D], where the query of a step is the output of the step before. A block:
    x [1, L, M] and for each step w_q, w_k, w_v [H * D, M] and w_o [M, H * D], y = x W^T."""

    def __init__(self, case):
        self.case = case
        generator = np.random.default_rng(20)
        length, width = case.length, case.heads * case.d_head
        if case.d_model:
            self.x = normal(generator, (1, length, case.d_model))
            shapes = [(width, case.d_model)] * 3 + [(case.d_model, width)]
            self.weights = [[normal(generator, shape, shape[1] ** -0.5) for shape in shapes]
                            for _ in range(case.steps)]
        else:
            self.q, self.k, self.v = (normal(generator, (1, length, case.heads, case.d_head))
                                      for _ in range(3))
        # A sequence of steps of a block needs every row of the one before; elsewhere a sample of rows will do.
        self.turned = None
        rows = np.arange(length)
        if not case.d_model or case.steps == 1:
            sample = generator.integers(0, length, 28)
            rows = np.unique(np.concatenate([sample, [0, 1 % length, length // 2, length - 1]]))
        self.rows = rows
        self.answer = self.block() if case.d_model else self.attention()

    def operands(self, layout):
        """q, k, v in a layout, as [1, L, H, D] or [1, H, L, D]."""
        if layout == "bshd":
            return self.q, self.k, self.v
        if self.turned is None:
            self.turned = [aligned(tensor.transpose(0, 2, 1, 3).shape) for tensor in (self.q, self.k, self.v)]
            for turned, tensor in zip(self.turned, (self.q, self.k, self.v)):
                turned[...] = tensor.transpose(0, 2, 1, 3)
        return self.turned

    def heads_of(self, q, k, v):
        """Attention of given rows: q [rows, H, D], k and v [L, H, D], all float64; [rows, H, D]."""
        case, out = self.case, np.empty(q.shape)
        visible = np.ones((len(q), case.length), bool)
        if case.causal:
            visible = np.arange(case.length)[None, :] <= self.rows[:, None]
        for head in range(case.heads):
            scores = q[:, head] @ k[:, head].T / np.sqrt(case.d_head)
            out[:, head] = softmax_times(scores, visible, v[:, head])
        return out

    def attention(self):
        q = self.q[0, self.rows].astype(np.float64)
        k, v = self.k[0].astype(np.float64), self.v[0].astype(np.float64)
        for _ in range(self.case.steps):
            q = self.heads_of(q, k, v)
        return q.reshape(len(self.rows), -1)

    def block(self):
        case, x = self.case, self.x[0].astype(np.float64)
        for weights in self.weights:
            w_q, w_k, w_v, w_o = (w.astype(np.float64) for w in weights)
            q = (x[self.rows] @ w_q.T).reshape(-1, case.heads, case.d_head)
            k, v = ((x @ w.T).reshape(-1, case.heads, case.d_head) for w in (w_k, w_v))
            x = self.heads_of(q, k, v).reshape(len(self.rows), -1) @ w_o.T
        return x

    def error(self, output, layout):
        """The largest error of an output as a part of the largest element of the answer."""
        output = np.asarray(output)
        if not self.case.d_model and layout == "bhsd":
            output = output.transpose(0, 2, 1, 3)
        rows = output.reshape(self.case.length, -1)[self.rows]
        error = np.abs(rows - self.answer).max() / np.abs(self.answer).max()
        return float("inf") if np.isnan(error) else float(error)


def address(array):
    return array.ctypes.data_as(ctypes.c_void_p).value


def our_call(problem, layout, kernel):
    """Our kernel on the problem's operands; the function that runs it and the array that it fills."""
    case = problem.case
    if case.d_model:
        operands, first, last = {}, ("x", problem.x), "output"
    else:
        q, k, v = problem.operands(layout)
        operands, first, last = {"key": k, "value": v}, ("query", q), "output"
    name, current = first
    buffers = [aligned(current.shape), aligned(current.shape)]
    for step in range(case.steps):
        out = buffers[step % 2]
        for key, array in {**operands, name: current, last: out}.items():
            kernel.set_tensor(step, key, address(array))
        if case.d_model:
            kernel.set_weights(step, [(key, address(w), *w.shape) for key, w in
                                      zip(("w_q", "w_k", "w_v", "w_o"), problem.weights[step])])
        current = out
    run = kernel.caller()
    run.memory = (operands, first, buffers)  # alive as long as the function
    return run, current
