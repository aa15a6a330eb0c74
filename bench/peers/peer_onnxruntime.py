"""ONNX Runtime: sessions over graphs whose weights are initialisers, inputs and outputs bound beforehand."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from problem import aligned

VERSION = onnxruntime.__version__
CONTRIB = "com.microsoft"


class Graph:
    def __init__(self):
        self.nodes, self.initialisers, self.count = [], [], 0

    def add(self, op, inputs, domain="", outputs=1, **attributes):
        """Adds a node; the name of its first output, or all names."""
        self.count += 1
        names = [f"t{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array):
        self.count += 1
        self.initialisers.append(numpy_helper.from_array(np.asarray(array, order="C"), f"c{self.count}"))
        return f"c{self.count}"

    def session(self, inputs, output, shape, threads, more=None):
        """more: further outputs and their shapes."""
        info = lambda name, dims: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)
        graph = helper.make_graph(
            self.nodes, "peer", [info(name, array.shape) for name, array in inputs.items()],
            [info(name, dims) for name, dims in {output: shape, **(more or {})}.items()], self.initialisers)
        model = helper.make_model(
            graph, ir_version=11,
            opset_imports=[helper.make_opsetid("", 24), helper.make_opsetid(CONTRIB, 1)])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(model.SerializeToString(), options,
                                            providers=["CPUExecutionProvider"])


def bound(session, inputs, output, shape):
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    result = onnxruntime.OrtValue.ortvalue_from_numpy(aligned(shape))
    binding.bind_ortvalue_output(output, result)
    return (lambda: session.run_with_iobinding(binding)), result.numpy


def grouped(graph, case, q, k, v, cache=False):
    """GroupQueryAttention, which is causal always; k and v empty: packed with q. cache: with an empty cache of
    keys and values to append to, which takes it another way through ONNX Runtime."""
    past = [graph.constant(np.zeros((1, case.heads, 0, case.d_head), np.float32))] * 2 if cache else ["", ""]
    lengths = [graph.constant(np.array([case.length - 1], np.int32)),
               graph.constant(np.array(case.length, np.int32))]
    return graph.add("GroupQueryAttention", [q, k, v, *past, *lengths], CONTRIB, outputs=3 if cache else 1,
                     num_heads=case.heads, kv_num_heads=case.heads)


def grouped_with_cache(graph, case, q, k, v):
    return grouped(graph, case, q, k, v, cache=True)[0]


def multi_head(graph, case, q, k, v):
    return graph.add("MultiHeadAttention", [q, k, v], CONTRIB, num_heads=case.heads,
                     unidirectional=int(case.causal))


def standard(graph, case, q, k, v):
    return graph.add("Attention", [q, k, v], is_causal=int(case.causal), q_num_heads=case.heads,
                     kv_num_heads=case.heads)


def standard_by_heads(graph, case, q, k, v):
    return graph.add("Attention", [q, k, v], is_causal=int(case.causal))


def attention_variant(problem, threads, layout, attend):
    case = problem.case
    operands = problem.operands(layout)
    if attend is not standard_by_heads:
        operands = [array.reshape(1, case.length, -1) for array in operands]
    graph, inputs = Graph(), dict(zip(("q", "k", "v"), operands))
    current = "q"
    for _ in range(case.steps):
        current = attend(graph, case, current, "k", "v")
    shape = operands[0].shape
    return bound(graph.session(inputs, current, shape, threads), inputs, current, shape)


def separate_projections(attend):
    def layer(graph, case, x, weights):
        q, k, v = (graph.add("MatMul", [x, graph.constant(w.T)]) for w in weights[:3])
        return graph.add("MatMul", [attend(graph, case, q, k, v), graph.constant(weights[3].T)])
    return layer


def merged(weights):
    return np.concatenate(weights[:3]).T


def contrib_block(graph, case, x, weights):
    bias = graph.constant(np.zeros(3 * case.heads * case.d_head, np.float32))
    attended = graph.add("Attention", [x, graph.constant(merged(weights)), bias], CONTRIB,
                         num_heads=case.heads, unidirectional=int(case.causal))
    return graph.add("MatMul", [attended, graph.constant(weights[3].T)])


def packed_block(attend):
    def layer(graph, case, x, weights):
        packed = graph.add("MatMul", [x, graph.constant(merged(weights))])
        return graph.add("MatMul", [attend(graph, case, packed, "", ""), graph.constant(weights[3].T)])
    return layer


def block_variant(problem, threads, layer):
    graph, current = Graph(), "x"
    for weights in problem.weights:
        current = layer(graph, problem.case, current, weights)
    inputs, shape = {"x": problem.x}, problem.x.shape
    return bound(graph.session(inputs, current, shape, threads), inputs, current, shape)


def decode_grouped(problem, threads):
    """GroupQueryAttention over a cache that it appends to in place: past and present are one memory."""
    case = problem.case
    q, k, v = problem.operands("bhsd")
    graph, tokens = Graph(), {"q": q.reshape(1, 1, -1)}
    for name, tensor in (("k", k), ("v", v)):
        tokens[name] = aligned((1, 1, case.kv_heads * case.d_head))
        tokens[name][...] = tensor[:, :, -1].reshape(1, 1, -1)
    past = {"past_key": k.copy(), "past_value": v.copy()}
    for cached in past.values():
        cached[:, :, -1] = 0
    lengths = [graph.constant(np.array([case.length - 1], np.int32)),
               graph.constant(np.array(case.length, np.int32))]
    names = graph.add("GroupQueryAttention", [*tokens, *past, *lengths], CONTRIB, outputs=3,
                      num_heads=case.heads, kv_num_heads=case.kv_heads)
    session = graph.session({**tokens, **past}, names[0], tokens["q"].shape, threads,
                            {name: array.shape for name, array in zip(names[1:], past.values())})
    binding = session.io_binding()
    for name, array in tokens.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for (name, array), present in zip(past.items(), names[1:]):
        memory = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        binding.bind_ortvalue_input(name, memory)
        binding.bind_ortvalue_output(present, memory)
    result = onnxruntime.OrtValue.ortvalue_from_numpy(aligned(tokens["q"].shape))
    binding.bind_ortvalue_output(names[0], result)
    return (lambda: session.run_with_iobinding(binding)), result.numpy


def decode_as_queries(problem, threads):
    """The heads of a KV head as its queries, over keys that are inputs."""
    q, k, v = problem.grouped()
    graph, inputs = Graph(), {"q": q, "k": k, "v": v}
    output = graph.add("Attention", list(inputs))
    return bound(graph.session(inputs, output, q.shape, threads), inputs, output, q.shape)


def variants(problem, threads):
    """(label, layout, function that gives (run, output)) of each."""
    causal = problem.case.causal
    if problem.case.dtype != "f32":
        return []  # its operators on CPUs know no bf16
    if problem.case.op == "decode":
        return [("GroupQueryAttention, cache in place", "bshd", lambda: decode_grouped(problem, threads)),
                ("Attention, groups as queries", "bshd", lambda: decode_as_queries(problem, threads))]
    if problem.case.d_model:
        layers = [("MatMuls and Attention", separate_projections(standard)),
                  ("contrib Attention", contrib_block),
                  ("MatMuls and MultiHeadAttention", separate_projections(multi_head))]
        if causal:
            layers += [("MatMul and packed GroupQueryAttention", packed_block(grouped)),
                       ("MatMul and packed GroupQueryAttention, cache", packed_block(grouped_with_cache))]
        return [(label, "bshd", lambda layer=layer: block_variant(problem, threads, layer))
                for label, layer in layers]
    operators = [("MultiHeadAttention", "bshd", multi_head), ("Attention", "bhsd", standard_by_heads),
                 ("Attention, 3 axes", "bshd", standard)]
    if causal:
        operators += [("GroupQueryAttention", "bshd", grouped),
                      ("GroupQueryAttention, cache", "bshd", grouped_with_cache)]
    return [(label, layout, lambda layout=layout, attend=attend:
             attention_variant(problem, threads, layout, attend)) for label, layout, attend in operators]
