"""PyTorch: scaled_dot_product_attention; blocks as eager modules, frozen traces and compiled."""

import logging
import warnings

import torch
import torch._inductor.config
import torch.nn.functional as functional

VERSION = torch.__version__.split("+")[0]
torch.set_grad_enabled(False)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def attention_chain(case, attend):
    def chain(q, k, v):
        for _ in range(case.steps):
            q = attend(q, k, v)
        return q
    return chain


def tensor_of(array):
    """Over the array's memory; uint16 holds bf16."""
    if array.dtype == "uint16":
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def operands(problem, layout):
    """Tensors [1, H, L, D] over memory in the layout."""
    tensors = [tensor_of(array) for array in problem.operands(layout)]
    return [tensor.transpose(1, 2) for tensor in tensors] if layout == "bshd" else tensors


def called(function, arguments, layout):
    results = [None]

    def run():
        results[0] = function(*arguments)

    def output():
        result = results[0].transpose(1, 2) if layout == "bshd" else results[0]
        return result.float().numpy()
    return run, output


def attention_variant(problem, layout, attend, traced=False, arguments=None):
    arguments = arguments or operands(problem, layout)
    function = attention_chain(problem.case, attend)
    if traced:
        function = torch.jit.trace(function, arguments)
    return called(function, arguments, layout)


def grouped_variant(problem, attend):
    """Of decode, with the heads of a KV head as its queries."""
    return attention_variant(problem, "grouped", attend, arguments=[tensor_of(a) for a in problem.grouped()])


class Layer(torch.nn.Module):
    def __init__(self, case, weights, merged):
        super().__init__()
        self.case = case
        dtype = torch.float32 if case.dtype == "f32" else torch.bfloat16
        linear = lambda w: torch.nn.Linear(w.shape[1], w.shape[0], bias=False, dtype=dtype)
        parts = [torch.from_numpy(w).to(dtype) for w in weights]
        inputs = [torch.cat(parts[:3])] if merged else parts[:3]
        self.project = torch.nn.ModuleList(linear(w) for w in inputs)
        self.out = linear(parts[3])
        for module, weight in zip([*self.project, self.out], [*inputs, parts[3]]):
            module.weight.copy_(weight)

    def forward(self, x):
        case = self.case
        tensors = [module(x) for module in self.project]
        if len(tensors) == 1:
            tensors = tensors[0].split(case.heads * case.d_head, -1)
        q, k, v = (t.view(1, case.length, case.heads, case.d_head).transpose(1, 2) for t in tensors)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=case.causal)
        return self.out(attended.transpose(1, 2).reshape(1, case.length, -1))


def block_variant(problem, merged, prepare):
    module = torch.nn.Sequential(*(Layer(problem.case, weights, merged) for weights in problem.weights))
    x = tensor_of(problem.x)
    run, output = called(prepare(module.eval(), x), [x], "bhsd")
    return run, output


def frozen(module, x):
    return torch.jit.optimize_for_inference(torch.jit.trace(module, x))


def compiled(backend):
    def prepare(module, _):
        torch._dynamo.reset()
        torch._inductor.config.freezing = True
        return torch.compile(module, backend=backend, dynamic=False)
    return prepare


def variants(problem, threads):
    """(label, layout, function that gives (run, output)) of each."""
    torch.set_num_threads(threads)
    case = problem.case
    if case.d_model:
        return [("eager", "bshd", lambda: block_variant(problem, True, lambda module, x: module)),
                ("frozen trace", "bshd", lambda: block_variant(problem, False, frozen)),
                ("torch.compile, frozen", "bshd", lambda: block_variant(problem, True, compiled("inductor")))]

    def attend(q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=case.causal)

    def attend_groups(q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    if case.op == "decode":
        # The cache as [B, G, L, D] and as [B, L, G, D].
        return [("scaled_dot_product_attention, groups as queries", "bshd",
                 lambda: grouped_variant(problem, attend))] + [
                    (f"scaled_dot_product_attention, grouped heads, {layout}", "bshd",
                     lambda layout=layout: attention_variant(problem, layout, attend_groups))
                    for layout in ("bhsd", "bshd")]
    found = [("scaled_dot_product_attention", "bhsd", lambda: attention_variant(problem, "bhsd", attend)),
             ("scaled_dot_product_attention", "bshd", lambda: attention_variant(problem, "bshd", attend))]
    if case.steps > 1:  # spares Python between the steps
        found.append(("scaled_dot_product_attention, traced", "bhsd",
                      lambda: attention_variant(problem, "bhsd", attend, traced=True)))
    return found
