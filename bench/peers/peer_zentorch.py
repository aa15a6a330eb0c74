"""zentorch, AMD's plug-in for PyTorch: its attention operators, and blocks that its backend compiles."""

import torch
import zentorch

import peer_pytorch

VERSION = zentorch.__version__


def variants(problem, threads):
    """(label, layout, function that gives (run, output)) of each."""
    torch.set_num_threads(threads)
    case = problem.case
    if case.d_model:
        compiled = peer_pytorch.compiled("zentorch")
        return [("torch.compile, separate", "bshd",
                 lambda: peer_pytorch.block_variant(problem, False, compiled)),
                ("torch.compile, merged", "bshd",
                 lambda: peer_pytorch.block_variant(problem, True, compiled))]
    operators = torch.ops.zentorch

    def sdpa(q, k, v):
        return operators.zentorch_sdpa(q, k, v, is_causal=case.causal)[0]

    def attention_into(q, k, v):
        out = torch.empty_like(q)
        operators.zentorch_sdpa_attn(q, k, v, out, scale=case.d_head**-0.5, is_causal=case.causal)
        return out
    if case.op == "decode":
        return [(f"{label}, groups as queries", "bshd",
                 lambda attend=attend: peer_pytorch.grouped_variant(problem, attend))
                for label, attend in (("zentorch_sdpa", sdpa), ("zentorch_sdpa_attn", attention_into))]
    return [(label, layout, lambda layout=layout, attend=attend:
             peer_pytorch.attention_variant(problem, layout, attend))
            for label, attend in (("zentorch_sdpa", sdpa), ("zentorch_sdpa_attn", attention_into))
            for layout in ("bhsd", "bshd")]
