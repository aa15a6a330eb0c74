"""OpenVINO: compiled models in f32 or bf16 whose weights are constants, on the caller's memory."""

import numpy as np
import openvino
import openvino.opset13 as op

from problem import aligned, numbers

VERSION = openvino.__version__.split("-")[0]


def given(array):
    """A tensor over the array's memory; uint16 holds bf16."""
    if array.dtype == np.uint16:
        return openvino.Tensor(array, openvino.Shape(list(array.shape)), openvino.Type.bf16)
    return openvino.Tensor(array, shared_memory=True)


def parameter(array):
    return op.parameter(list(array.shape), openvino.Type.bf16 if array.dtype == np.uint16 else np.float32)


def compiled(parameters, arrays, output, threads, problem):
    # The precision is asked for: on processors with bf16 the CPU plug-in would compute in that.
    model = openvino.Core().compile_model(
        openvino.Model([output], parameters), "CPU",
        {"INFERENCE_PRECISION_HINT": problem.case.dtype, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
         "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False})
    request = model.create_infer_request()
    for index, array in enumerate(arrays):
        request.set_input_tensor(index, given(array))
    result = aligned(tuple(model.output(0).shape), arrays[0].dtype)
    request.set_output_tensor(0, given(result))

    def run():
        request.infer(share_inputs=True, share_outputs=True)
    run.memory = (model, request, arrays, result)
    return run, lambda: result


def constant(values):
    return op.constant(np.asarray(values, order="C"))


def bf16_constant(values):
    return op.convert(constant(values), "bf16")  # made once, when the model is compiled


def as_f32(arrays):
    """Tensors of f32 around a model that computes in bf16: it converts them by itself."""
    converted = [aligned(array.shape) for array in arrays]
    for target, array in zip(converted, arrays):
        target[...] = numbers(array)
    return converted


def turned(tensor):
    """[B, L, H, D] <-> [B, H, L, D]"""
    return op.transpose(tensor, constant(np.array([0, 2, 1, 3])))


def shaped(tensor, shape):
    return op.reshape(tensor, constant(np.array(shape)), False)


def attention_variant(problem, threads, layout, arrays):
    parameters = [parameter(array) for array in arrays]
    order = turned if layout == "bshd" else lambda tensor: tensor
    current = parameters[0]
    for _ in range(problem.case.steps):
        current = order(op.scaled_dot_product_attention(
            order(current), order(parameters[1]), order(parameters[2]), causal=problem.case.causal))
    return compiled(parameters, arrays, current, threads, problem)


def separate(case, weight, x, weights):
    return [turned(shaped(op.matmul(x, weight(w), False, True), [1, case.length, case.heads, case.d_head]))
            for w in weights]


def merged(case, weight, x, weights):
    product = op.matmul(x, weight(np.concatenate(weights)), False, True)
    parts = op.transpose(shaped(product, [1, case.length, 3, case.heads, case.d_head]),
                         constant(np.array([2, 0, 3, 1, 4])))
    split = op.split(parts, constant(np.array(0)), 3)
    return [op.squeeze(split.output(i), constant(np.array([0]))) for i in range(3)]


def block_variant(problem, threads, project, array):
    case = problem.case
    weight = bf16_constant if array.dtype == np.uint16 else constant
    first = current = parameter(array)
    for weights in problem.weights:
        q, k, v = project(case, weight, current, weights[:3])
        attended = turned(op.scaled_dot_product_attention(q, k, v, causal=case.causal))
        current = op.matmul(shaped(attended, [1, case.length, case.heads * case.d_head]),
                            weight(weights[3]), False, True)
    return compiled([first], [array], current, threads, problem)


def variants(problem, threads):
    """(label, layout, function that gives (run, output)) of each."""
    case = problem.case
    # What the model's tensors are: those of the case, or f32, which it rounds by itself.
    forms = [("", list)] + ([(", tensors of f32", as_f32)] if case.dtype != "f32" else [])
    if case.d_model:
        return [(name + words, "bshd", lambda project=project, form=form:
                 block_variant(problem, threads, project, form([problem.x])[0]))
                for name, project in (("merged projection", merged), ("separate projections", separate))
                for words, form in forms]
    if case.op == "decode":
        return [("ScaledDotProductAttention, groups as queries" + words, "bshd", lambda form=form:
                 attention_variant(problem, threads, "bhsd", form(problem.grouped())))
                for words, form in forms]
    return [(name + words, layout, lambda layout=layout, form=form:
             attention_variant(problem, threads, layout, form(problem.operands(layout))))
            for name, layout in (("ScaledDotProductAttention", "bhsd"),
                                 ("ScaledDotProductAttention, transposed", "bshd"))
            for words, form in forms]
