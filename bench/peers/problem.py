"""The operands of a case and its answer in float64 (needs numpy)."""

import ctypes

import numpy as np

# Of the largest element of the answer. What computes in f32 throughout stays below a tenth of it; what rounds its
# operands to bf16 (4e-3) does not pass where f32 is asked for. In bf16 what lies between the steps is rounded too.
TOLERANCES = {"f32": 1e-4, "bf16": 2e-2}


def aligned(shape, dtype=np.float32):
    """Zeros that start a page."""
    count, size = int(np.prod(shape)), np.dtype(dtype).itemsize
    memory = np.zeros(count + 4096 // size, dtype)
    start = -memory.ctypes.data % 4096 // size
    return memory[start:start + count].reshape(shape)


def bf16_bits(values):
    """f32 rounded to bf16, to nearest even, as uint16; numpy has no such type."""
    bits = values.view(np.uint32)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def numbers(stored):
    """What lies in memory as f32."""
    if stored.dtype != np.uint16:
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)


def softmax_times(scores, visible, values):
    """softmax(scores) values over visible keys; scores [rows, keys]."""
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)) @ values


class Problem:
    """Attention: q [1, L, H, D], k, v [1, L, G, D], where the query of a step is the output of the step before;
    of decode q is [1, 1, H, D]. A block: x [1, L, M] and for each step w_q, w_k, w_v [H * D, M] and w_o [M, H * D],
    y = x W^T. All are f32 whose values the case's dtype has; stored() is how they lie in memory."""

    def __init__(self, case):
        self.case = case
        self.tolerance = TOLERANCES[case.dtype]
        self.generator = np.random.default_rng(20)
        length, width = case.length, case.heads * case.d_head
        if case.d_model:
            self.values = self.normal((1, length, case.d_model))
            self.x = self.stored(self.values)
            shapes = [(width, case.d_model)] * 3 + [(case.d_model, width)]
            self.weights = [[self.normal(shape, shape[1] ** -0.5) for shape in shapes]
                            for _ in range(case.steps)]
        else:
            self.q = self.normal((1, case.queries, case.heads, case.d_head))
            self.k, self.v = (self.normal((1, length, case.kv_heads, case.d_head)) for _ in range(2))
        # A sequence of steps of a block needs every row of the one before; elsewhere a sample of rows will do.
        self.in_layout = {}
        rows = np.arange(case.queries)
        if (not case.d_model or case.steps == 1) and case.op != "decode":
            sample = self.generator.integers(0, length, 28)
            rows = np.unique(np.concatenate([sample, [0, 1 % length, length // 2, length - 1]]))
        self.rows = rows
        self.answer = self.block() if case.d_model else self.attention()

    def normal(self, shape, deviation=1.0):
        values = aligned(shape)
        values[...] = self.generator.standard_normal(shape, np.float32) * np.float32(deviation)
        if self.case.dtype == "bf16":
            values[...] = numbers(bf16_bits(values))
        return values

    def empty(self, shape):
        """Memory for such a tensor of the case's dtype."""
        return aligned(shape, np.float32 if self.case.dtype == "f32" else np.uint16)

    def stored(self, values):
        if self.case.dtype == "f32":
            return values
        memory = self.empty(values.shape)
        memory[...] = bf16_bits(values)
        return memory

    def operands(self, layout):
        """q, k, v in memory in a layout, as [1, L, H, D] or [1, H, L, D]."""
        if layout not in self.in_layout:
            tensors = [self.q, self.k, self.v]
            if layout == "bhsd":
                for index, tensor in enumerate(tensors):
                    tensors[index] = aligned(tensor.transpose(0, 2, 1, 3).shape)
                    tensors[index][...] = tensor.transpose(0, 2, 1, 3)
            self.in_layout[layout] = [self.stored(tensor) for tensor in tensors]
        return self.in_layout[layout]

    def grouped(self):
        """Of decode: the heads of a KV head as its queries, q [1, G, H / G, D], k, v [1, G, L, D]: what any
        attention can compute, and what reads each key once."""
        case = self.case
        q, k, v = self.operands("bhsd")
        return q.reshape(1, case.kv_heads, case.heads // case.kv_heads, case.d_head), k, v

    def heads_of(self, q, k, v):
        """Attention of given rows: q [rows, H, D], k and v [L, G, D], all float64; [rows, H, D]."""
        case, out = self.case, np.empty(q.shape)
        visible = np.ones((len(q), case.length), bool)
        if case.causal:
            visible = np.arange(case.length)[None, :] <= self.rows[:, None]
        for head in range(case.heads):
            of = head * case.kv_heads // case.heads
            scores = q[:, head] @ k[:, of].T / np.sqrt(case.d_head)
            out[:, head] = softmax_times(scores, visible, v[:, of])
        return out

    def attention(self):
        q = self.q[0, self.rows].astype(np.float64)
        k, v = self.k[0].astype(np.float64), self.v[0].astype(np.float64)
        for _ in range(self.case.steps):
            q = self.heads_of(q, k, v)
        return q.reshape(len(self.rows), -1)

    def block(self):
        case, x = self.case, self.values[0].astype(np.float64)
        for weights in self.weights:
            w_q, w_k, w_v, w_o = (w.astype(np.float64) for w in weights)
            q = (x[self.rows] @ w_q.T).reshape(-1, case.heads, case.d_head)
            k, v = ((x @ w.T).reshape(-1, case.heads, case.d_head) for w in (w_k, w_v))
            x = self.heads_of(q, k, v).reshape(len(self.rows), -1) @ w_o.T
        return x

    def error(self, output, layout):
        """The largest error of an output as a part of the largest element of the answer."""
        output = numbers(np.asarray(output))
        if self.case.op == "attention" and layout == "bhsd":
            output = output.transpose(0, 2, 1, 3)
        rows = output.reshape(self.case.queries, -1)[self.rows]
        error = np.abs(rows - self.answer).max() / np.abs(self.answer).max()
        return float("inf") if np.isnan(error) else float(error)


def address(array):
    return array.ctypes.data_as(ctypes.c_void_p).value


def our_tensors(problem, layout):
    """What our kernel reads beside the tensor that one step takes from the one before, and that tensor."""
    case = problem.case
    if case.d_model:
        return {}, ("x", problem.x)
    q, k, v = problem.operands(layout)
    if case.op == "decode":  # the last key is the new token's
        k, v = (problem.stored(tensor[:, -1:].copy()) for tensor in (problem.k, problem.v))
    return {"key": k, "value": v}, ("query", q)


def our_call(problem, layout, kernel):
    """Our kernel on the problem's operands; the function that runs it and the array that it fills."""
    case = problem.case
    operands, (name, current) = our_tensors(problem, layout)
    first = current
    buffers = [problem.empty(current.shape), problem.empty(current.shape)]
    for step in range(case.steps):
        out = buffers[step % 2]
        for key, array in {**operands, name: current, "output": out}.items():
            kernel.set_tensor(step, key, address(array))
        if case.d_model:
            kernel.set_weights(step, [(key, address(w), *w.shape) for key, w in
                                      zip(("w_q", "w_k", "w_v", "w_o"), problem.weights[step])])
        if case.op == "decode":
            kernel.set_cache(step, case.length - 1, address(problem.k), address(problem.v))
        current = out
    run = kernel.caller()
    run.memory = (operands, first, buffers)  # alive as long as the function
    return run, current
