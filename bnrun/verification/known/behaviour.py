"""Faults that are no formula: what a module writes, keeps, registers, accepts or refuses."""

from bnrun.verification.known.fault import Fault

IDENTITY = Fault(
    "identity",
    "It returns its input as it is: nothing is normalized.",
    "Return gamma * (x - mean) / sqrt(var + eps) + beta.",
)
OUTPUT_NOT_FINITE = Fault(
    "output-not-finite",
    "The output is NaN or infinite for an ordinary input.",
    "Print what goes into each root and each division: something is negative, or 0.",
)
OUTPUT_DETACHED = Fault(
    "output-detached",
    "The output has no gradient at all: neither the input nor gamma and beta would ever learn.",
    "Compute the output with gradients enabled; no_grad() belongs around the update of the moving "
    "statistics alone.",
)
NARROWED = Fault(
    "float64-narrowed",
    "float64 goes in, but the result has only float32's precision: something is computed in "
    "float32 on the way.",
    "Let new tensors have the input's dtype (torch.zeros(..., dtype=x.dtype)), and call no "
    ".float() on x.",
)
CANCELLING = Fault(
    "variance-cancels",
    "The variance is lost to rounding where the mean is large beside the spread, as in "
    "E[x²] - E[x]².",
    "Subtract the mean first: ((x - mean) ** 2).mean(...), or x.var(...).",
)
NOT_FINITE_AT_ZERO_VARIANCE = Fault(
    "not-finite-at-zero-variance",
    "A channel of equal values gives an output or a gradient that is not finite.",
    "Divide by sqrt(var + eps), with eps inside the root: the gradient of sqrt is infinite at 0.",
)
WRITES_INTO_INPUT = Fault(
    "writes-into-input",
    "It writes into its input: whatever else uses that tensor (a skip connection, say) gets "
    "other values.",
    "Use x = x - mean in place of x -= mean, x.sub_(mean) and the like.",
)
NOT_REPEATABLE = Fault(
    "not-repeatable",
    "The same state and the same input give another output the second time.",
    "Let forward depend on its input and the layer's state alone.",
)
REFUSES_LAYOUTS = Fault(
    "refuses-non-contiguous",
    "It refuses an input that does not lie contiguously in memory, such as a slice, a transpose "
    "or channels_last.",
    "Use .reshape(...) where .view(...) stands, or sum over dimensions without either.",
)
WRONG_LAYOUTS = Fault(
    "wrong-on-non-contiguous",
    "It gives other values for an input that does not lie contiguously in memory.",
    "Do not use storage order (.view on .data, as_strided, data_ptr): index by dimension.",
)
OUTPUT_DTYPE = Fault(
    "output-dtype",
    "The output has another dtype than the input.",
    "Return y.to(x.dtype), if the statistics are taken in another dtype.",
)
KEEPS_GRAPH = Fault(
    "keeps-graph",
    "The layer keeps autograd's graph of past batches alive: memory grows with every step, and a "
    "second backward pass may fail.",
    "Update the moving statistics under torch.no_grad(), or from mean.detach() and var.detach().",
)
HOLDS_GRAPH = Fault(
    "holds-last-graph",
    "A tensor that hangs in autograd's graph is kept in an attribute until the next batch: "
    "copy.deepcopy of the layer then fails, and the batch's memory is not freed.",
    "Keep it detached: self.x = x.detach().",
)
MEMORY_GROWS = Fault(
    "memory-grows",
    "Memory grows with every training step, though no graph is kept: the layer keeps something "
    "of each batch.",
    "Keep the moving mean and variance alone, not lists of what has been seen.",
)
STATISTICS_IN_ATTRIBUTES = Fault(
    "statistics-not-in-state-dict",
    "The moving statistics are plain attributes: state_dict() leaves them out, so a saved model "
    "predicts wrongly when loaded, and .to() and .double() leave them behind.",
    "Register them under the names they have: self.register_buffer('moving_mean', "
    "torch.zeros(num_features)), and so on.",
)
STATISTICS_NOT_PERSISTENT = Fault(
    "statistics-not-persistent",
    "The moving statistics are buffers that state_dict() leaves out (persistent=False), so a "
    "saved model predicts wrongly when loaded.",
    "Register them without persistent=False.",
)
STATE_DICT_INCOMPLETE = Fault(
    "state-dict-does-not-restore",
    "A layer that loads another's state_dict predicts something else: part of the state is not in "
    "it.",
    "Keep all state in parameters and buffers.",
)
STATE_DICT_REFUSED = Fault(
    "state-dict-refused",
    "A new layer of the class refuses the state_dict of a used one.",
    "Let names and shapes of parameters and buffers be the same before and after training.",
)
COPY_FAILS = Fault(
    "cannot-be-copied",
    "copy.deepcopy of the layer fails.",
    "Hold nothing but parameters, buffers and plain values: no locks, generators or open files; "
    "and detach tensors that are kept.",
)
COPY_SHARES = Fault(
    "copies-share-state",
    "Training a copy of the layer changes the moving statistics of the original.",
    "Hold them in buffers of the instance, not on the class or in a global.",
)
COPY_DIFFERS = Fault(
    "copies-differ",
    "A copy of the layer predicts something else than the original.",
    "Keep all state in parameters, buffers and plain attributes of the instance.",
)
PICKLE_FAILS = Fault(
    "cannot-be-pickled",
    "The layer cannot be pickled, so torch.save(model), and handing it to another process, fail.",
    "Hold no lambdas, nested functions, generators or open files in attributes.",
)
DOUBLE_CHANGES = Fault(
    "double-changes-output",
    "After .double() the layer computes something else.",
    "Let .double() change dtypes alone; or keep what forward uses in parameters and buffers.",
)
DOUBLE_LEAVES_BEHIND = Fault(
    "double-leaves-behind",
    "After .double() part of the layer is not in float64.",
    "Register the tensors as parameters or buffers: .double() and .to() convert those.",
)
PARAMETER_MISSING = {
    part: Fault(
        f"{part}-not-a-parameter",
        f"{part} is not a parameter: no optimizer is given it, so it never learns.",
        f"Use self.{part} = nn.Parameter(...).",
    )
    for part in ("gamma", "beta")
}
PARAMETER_FROZEN = {
    part: Fault(
        f"{part}-frozen",
        f"{part} is a parameter that asks for no gradient (requires_grad=False): it never learns.",
        f"Leave requires_grad out: self.{part} = nn.Parameter(...).",
    )
    for part in ("gamma", "beta")
}
PARAMETER_SHARED = {
    part: Fault(
        f"{part}-shared",
        f"{part} is one number for all channels; each channel has its own.",
        f"Give it the length num_features: nn.Parameter(torch.{start}(num_features)).",
    )
    for part, start in (("gamma", "ones"), ("beta", "zeros"))
}
PARAMETER_ABSENT = {
    part: Fault(
        f"no-{part}",
        f"There is no {part}: {does} is never learned.",
        f"Add self.{part} = nn.Parameter(torch.{start}(num_features)) and use it in forward.",
    )
    for part, does, start in (("gamma", "the scale", "ones"), ("beta", "the shift", "zeros"))
}
STATISTICS_LEARNED = Fault(
    "statistics-are-learned",
    "The moving statistics are parameters that an optimizer is given: whoever trains after eval() "
    "learns them away.",
    "Use buffers: self.register_buffer('moving_mean', torch.zeros(num_features)), and so on.",
)
CHANGES_TORCH = Fault(
    "changes-torch",
    "A forward pass changes torch's own state, for everything else in the program.",
    "Use `with torch.no_grad():`, which ends, in place of torch.set_grad_enabled(False); and call "
    "neither torch.manual_seed nor torch.set_default_dtype.",
)
NEVER_TRAINS_AGAIN = Fault(
    "never-trains-again",
    "After it has predicted once, it does not train as a new layer does.",
    "Ask self.training in each forward pass, and remember nothing of the last one.",
)
NOTHING_LEARNED = Fault(
    "no-gamma-and-beta",
    "There are no gamma and beta: nothing is learned.",
    "Add self.gamma = nn.Parameter(torch.ones(num_features)), and beta of zeros.",
)
STARTS_AT = {
    name: Fault(
        f"{name.replace('_', '-')}-starts-wrong",
        f"{label} does not start at {value}.",
        f"Start it at torch.{'ones' if value else 'zeros'}(num_features).",
    )
    for name, label, value in (
        ("gamma", "gamma", 1),
        ("beta", "beta", 0),
        ("moving_mean", "The moving mean", 0),
        ("moving_var", "The moving variance", 1),
    )
}
FLOAT64_REFUSED = Fault(
    "float64-refused",
    "It works in float32 but not in float64.",
    "Let tensors that are made in forward have the input's dtype: torch.zeros(..., dtype=x.dtype).",
)


UNEXPLAINED = Fault(
    "unexplained",
    "No known mistake, nor any two or three in one part, gives what was observed.",
    "Hold each part to its formula by hand, on a small input: gamma * (x - mean) / sqrt(var + eps) "
    "+ beta; (1 - momentum) * moving + momentum * new.",
)


def trouble(kind: str, message: str) -> Fault:
    """Return the fault of code that does not come back with a result."""
    if kind != "raised":
        mends = {
            "hung": "Look for a loop that does not end; or, if it is only slow, raise "
            "--time-limit.",
            "exited": "Let it raise an error instead of ending the process.",
        }
        return Fault(kind, f"It {message}.", mends[kind])
    of_shapes = any(
        word in message for word in ("size of tensor", "shape", "dimension", "size mis")
    )
    mend = "Mend that line, or what leads to it."
    if "forward returned" in message:
        mend = "Return one tensor, of the input's shape, and nothing else."
    elif of_shapes:
        mend = "Run that line by hand on an input of each shape that the layer is for, and print "
        mend += "the shapes."
    return Fault(kind, f"It raises {message}.", mend)
