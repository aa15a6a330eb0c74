"""OpenVINO: compiled models in f32 whose weights are constants, on the caller's memory."""

import numpy as np
import openvino
import openvino.opset13 as op

from problem import aligned

VERSION = openvino.__version__.split("-")[0]


def compiled(parameters, arrays, output, threads):
    # f32 is asked for: on processors with bf16 the CPU plug-in would compute in that.
    model = openvino.Core().compile_model(
        openvino.Model([output], parameters), "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
         "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False})
    request = model.create_infer_request()
    for index, array in enumerate(arrays):
        request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
    result = aligned(tuple(model.output(0).shape))
    request.set_output_tensor(0, openvino.Tensor(result, shared_memory=True))

    def run():
        request.infer(share_inputs=True, share_outputs=True)
    run.memory = (model, request, arrays, result)
    return run, lambda: result


def constant(values):
    return op.constant(np.asarray(values, order="C"))


def turned(tensor):
    """[B, L, H, D] <-> [B, H, L, D]"""
    return op.transpose(tensor, constant(np.array([0, 2, 1, 3])))


def shaped(tensor, shape):
    return op.reshape(tensor, constant(np.array(shape)), False)


def attention_variant(problem, threads, layout):
    arrays = problem.operands(layout)
    parameters = [op.parameter(list(array.shape), np.float32) for array in arrays]
    order = turned if layout == "bshd" else lambda tensor: tensor
    current = parameters[0]
    for _ in range(problem.case.steps):
        current = order(op.scaled_dot_product_attention(
            order(current), order(parameters[1]), order(parameters[2]), causal=problem.case.causal))
    return compiled(parameters, arrays, current, threads)


def separate(case, x, weights):
    return [turned(shaped(op.matmul(x, constant(w), False, True), [1, case.length, case.heads, case.d_head]))
            for w in weights]


def merged(case, x, weights):
    product = op.matmul(x, constant(np.concatenate(weights)), False, True)
    parts = op.transpose(shaped(product, [1, case.length, 3, case.heads, case.d_head]),
                         constant(np.array([2, 0, 3, 1, 4])))
    split = op.split(parts, constant(np.array(0)), 3)
    return [op.squeeze(split.output(i), constant(np.array([0]))) for i in range(3)]


def block_variant(problem, threads, project):
    case = problem.case
    parameter = op.parameter(list(problem.x.shape), np.float32)
    current = parameter
    for weights in problem.weights:
        q, k, v = project(case, current, weights[:3])
        attended = turned(op.scaled_dot_product_attention(q, k, v, causal=case.causal))
        current = op.matmul(shaped(attended, [1, case.length, case.heads * case.d_head]),
                            constant(weights[3]), False, True)
    return compiled([parameter], [problem.x], current, threads)


def variants(problem, threads):
    """(label, layout, function that gives (run, output)) of each."""
    if problem.case.d_model:
        return [("merged projection", "bshd", lambda: block_variant(problem, threads, merged)),
                ("separate projections", "bshd", lambda: block_variant(problem, threads, separate))]
    return [("ScaledDotProductAttention", "bhsd", lambda: attention_variant(problem, threads, "bhsd")),
            ("ScaledDotProductAttention, transposed", "bshd",
             lambda: attention_variant(problem, threads, "bshd"))]
