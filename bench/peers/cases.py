"""The cells of the comparison: what bench/peers/cases.txt says, its work, and our config for it."""

import dataclasses
import math
import pathlib

TABLE = pathlib.Path(__file__).with_name("cases.txt")
# Calls shorter than this follow one another in steps, as the layers of a model do: what a peer does once a run
# (its Python interface, its session) is then spread over them.
STEP_FLOPS, MOST_STEPS = 64e6, 32
OPS = ("attention", "block", "decode")
DTYPES = {"f32": 4, "bf16": 2}  # bytes of an element


@dataclasses.dataclass(frozen=True)
class Case:
    op: str  # attention, block, or decode: one query over `length` keys of a cache
    d_model: int  # 0 but for a block
    heads: int
    d_head: int
    length: int
    causal: bool
    quick: bool = dataclasses.field(default=False, compare=False)
    kv_heads: int = 0  # 0: as many as heads
    dtype: str = "f32"  # of all tensors and weights

    def __post_init__(self):
        if not self.kv_heads:
            object.__setattr__(self, "kv_heads", self.heads)

    @property
    def mask(self):
        return "causal" if self.causal else "full"

    @property
    def name(self):
        model = f"{self.d_model}_" if self.d_model else ""
        groups = f"g{self.kv_heads}" if self.kv_heads != self.heads else ""
        mask = "" if self.op == "decode" else f"_{self.mask}"
        dtype = f"_{self.dtype}" if self.dtype != "f32" else ""
        return f"{self.op}_{model}h{self.heads}{groups}_d{self.d_head}_l{self.length}{mask}{dtype}"

    @property
    def queries(self):
        return 1 if self.op == "decode" else self.length

    @property
    def flops(self):
        """Of one step: products over visible pairs alone, two a multiply-add."""
        pairs = self.length * (self.length + 1) // 2 if self.causal else self.queries * self.length
        width = self.heads * self.d_head
        return 4 * width * pairs + 8 * self.length * self.d_model * width

    @property
    def work(self):
        """What the machine's limit is counted in: of decode bytes of K and V, else flops."""
        if self.op == "decode":
            return 2 * self.length * self.kv_heads * self.d_head * DTYPES[self.dtype]
        return self.flops

    @property
    def limit(self):
        """Which limit of the machine that is: the products of a dtype, or how fast memory is read."""
        return "read" if self.op == "decode" else self.dtype

    @property
    def steps(self):
        if self.op == "decode":
            return 1
        return min(MOST_STEPS, max(1, math.ceil(STEP_FLOPS / self.flops)))

    def config(self, layout):
        """Our YAML for it; layout (bshd or bhsd) is that of attention's tensors."""
        lines = ["version: 1", f"name: {self.kernel_name(layout)}",
                 f"op: {'block' if self.d_model else 'attention'}",
                 f"d_model: {self.d_model}" if self.d_model else f"layout: {layout}", f"heads: {self.heads}",
                 f"d_head: {self.d_head}", f"query_length: {self.queries}"]
        if self.kv_heads != self.heads:
            lines.append(f"kv_heads: {self.kv_heads}")
        if self.dtype != "f32":
            lines.append(f"dtype: {self.dtype}")
        if self.causal:
            lines.append("mask: {causal: true}")
        if self.op == "decode":
            lines.append(f"kv_cache: {{capacity: {self.length}}}")
        return "\n".join(lines) + "\n"

    def kernel_name(self, layout):
        return f"peers_{self.name}" + (f"_{layout}" if self.op == "attention" else "")

    def layouts(self):
        return ("bshd", "bhsd") if self.op == "attention" else ("bshd",)


def read_heads(word):
    """Heads, or heads/KV heads."""
    heads, _, kv_heads = word.partition("/")
    return int(heads), int(kv_heads or heads)


def read_row(line):
    """The cells of a line of the table; ValueError or IndexError."""
    fields = line.split()
    op, dtypes, d_model, (heads, kv_heads), d_head = (
        fields[0], fields[1].split(","), int(fields[2]), read_heads(fields[3]), int(fields[4]))
    masks = fields[5].split(",")
    lengths = [(int(word.rstrip("*")), word.endswith("*")) for word in fields[6:]]
    if op not in OPS or (op == "block") != (d_model > 0):
        raise ValueError("op must be attention (d_model 0), decode (d_model 0) or block")
    if min(heads, kv_heads, d_head, *(length for length, _ in lengths)) < 1 or d_model < 0:
        raise ValueError("widths and lengths are positive")
    if heads % kv_heads or (kv_heads != heads and op != "decode"):
        raise ValueError("KV heads divide the heads of decode, and elsewhere are as many")
    if not set(masks) <= {"full", "causal"} or (op == "decode" and masks != ["full"]):
        raise ValueError("masks are full, causal or both; of decode full")
    if not set(dtypes) <= set(DTYPES):
        raise ValueError(f"dtypes are {', '.join(DTYPES)}")
    return [Case(op, d_model, heads, d_head, length, mask == "causal", quick, kv_heads, dtype)
            for dtype in dtypes for mask in masks for length, quick in lengths]


def read_table(text):
    """The cases of a table; ValueError names the line that breaks a rule."""
    cases = []
    for number, line in enumerate(text.splitlines(), 1):
        row = line.split("#")[0]
        if not row.strip():
            continue
        try:
            cases += read_row(row)
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError(f"cases.txt:{number}: {error}: {line}") from error
    if len(set(cases)) != len(cases):
        raise ValueError("cases.txt: a cell is there twice")
    return cases
