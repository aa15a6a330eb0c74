"""The cells of the comparison: what bench/peers/cases.txt says, its work, and our config for it."""

import dataclasses
import math
import pathlib

TABLE = pathlib.Path(__file__).with_name("cases.txt")
# Calls shorter than this follow one another in steps, as the layers of a model do: what a peer does once a run
# (its Python interface, its session) is then spread over them.
STEP_FLOPS, MOST_STEPS = 64e6, 32


@dataclasses.dataclass(frozen=True)
class Case:
    op: str  # attention or block
    d_model: int  # 0 for attention
    heads: int
    d_head: int
    length: int
    causal: bool
    quick: bool = dataclasses.field(default=False, compare=False)

    @property
    def mask(self):
        return "causal" if self.causal else "full"

    @property
    def name(self):
        model = f"{self.d_model}_" if self.d_model else ""
        return f"{self.op}_{model}h{self.heads}_d{self.d_head}_l{self.length}_{self.mask}"

    @property
    def flops(self):
        """Of one step: products over visible pairs alone, two a multiply-add."""
        pairs = self.length * (self.length + 1) // 2 if self.causal else self.length**2
        width = self.heads * self.d_head
        return 4 * width * pairs + 8 * self.length * self.d_model * width

    @property
    def steps(self):
        return min(MOST_STEPS, max(1, math.ceil(STEP_FLOPS / self.flops)))

    def config(self, layout):
        """Our YAML for it; layout (bshd or bhsd) is that of attention's tensors."""
        shape = f"d_model: {self.d_model}\n" if self.d_model else f"layout: {layout}\n"
        mask = "mask: {causal: true}\n" if self.causal else ""
        return (f"version: 1\nname: {self.kernel_name(layout)}\nop: {self.op}\n{shape}"
                f"heads: {self.heads}\nd_head: {self.d_head}\nquery_length: {self.length}\n{mask}")

    def kernel_name(self, layout):
        return f"peers_{self.name}" + ("" if self.d_model else f"_{layout}")

    def layouts(self):
        return ("bshd",) if self.d_model else ("bshd", "bhsd")


def read_table(text):
    """The cases of a table; ValueError names the line that breaks a rule."""
    cases = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        try:
            op, (d_model, heads, d_head), masks = fields[0], map(int, fields[1:4]), fields[4].split(",")
            lengths = [(int(word.rstrip("*")), word.endswith("*")) for word in fields[5:]]
            if op not in ("attention", "block") or (op == "block") != (d_model > 0):
                raise ValueError("op must be attention (d_model 0) or block")
            if min(heads, d_head, *(length for length, _ in lengths)) < 1 or d_model < 0:
                raise ValueError("widths and lengths are positive")
            if not set(masks) <= {"full", "causal"}:
                raise ValueError("masks are full, causal or both")
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError(f"cases.txt:{number}: {error}: {line}") from error
        for mask in masks:
            for length, quick in lengths:
                cases.append(Case(op, d_model, heads, d_head, length, mask == "causal", quick))
    if len(set(cases)) != len(cases):
        raise ValueError("cases.txt: a cell is there twice")
    return cases
