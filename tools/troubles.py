"""What can go wrong in a function, read from its source: the errors it raises, itself and through its helpers, as sentences."""
import ast, re
from functools import cache
from itertools import chain, takewhile

from source import definition, find, head, is_public, line_up, md, method, modules, parameters

@cache
def troubles():
    "The names of the package's errors and warnings, each with all that they are a kind of."
    kin = lambda m, c: {c, "Exception", "BaseException"}.union(*(kin(*find(m, b)) if find(m, b) else {b} for b in map(ast.unparse, m.defs[c].bases)))
    return {c: kin(m, c) for m in modules().values() for c in m.methods if re.search("(Error|Warning)$", c)}

def value(m, node):
    "What an expression comes to that is made of constants alone, a dict being its keys; an exception if there is more to it."
    class Constants(dict):
        def __missing__(self, name):
            if name.isupper() and (there := find(m, name)): return value(there[0], there[0].values[there[1]][0])
            raise KeyError(name)
    if isinstance(node, ast.Dict): node = ast.copy_location(ast.Tuple([k for k in node.keys if k], ast.Load()), node)
    if any(isinstance(n, (ast.comprehension, ast.Lambda)) for n in ast.walk(node)): raise NameError("computed")
    return eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {"map": map, "repr": repr, "str": str}}, Constants())

def field(m, node, inside):
    "What stands in a message for a value: it itself if it is constant and short, a name in italics, (s) for a plural, or an ellipsis."
    spelled = node if isinstance(node, ast.FormattedValue) else ast.FormattedValue(node, -1)
    node, again = spelled.value, lambda n: field(m, n, inside)
    try: text = value(m, ast.fix_missing_locations(ast.copy_location(ast.JoinedStr([spelled]), node)))
    except Exception: text = ""
    if 0 < len(text) < 60: return md(text)
    if isinstance(node, ast.JoinedStr): return "".join(md(v.value) if isinstance(v, ast.Constant) else again(v) for v in node.values)
    if isinstance(node, ast.BinOp) and ast.unparse(node.left) == "'s'": return "(s)"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not spelled.format_spec: return f"{again(node.left)}/{again(node.right)}"
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ("Path", "str", "shlex.quote", "np.asarray"): return again(node.args[0])
    if isinstance(node, ast.Attribute): return f"{base[:-1]}.{node.attr}*" if (base := again(node.value))[-1] == "*" else "…"
    if not isinstance(node, ast.Name): return "…"
    stored = [n for n in ast.walk(inside) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id == node.id]
    given = [n.value for n in ast.walk(inside) if isinstance(n, ast.Assign) and n.targets == stored]
    own = node.id in [n.arg for n in ast.walk(inside) if isinstance(n, ast.arg)] or not given
    return f"*{node.id}*" if own else again(given[0])

def filled(text, given):
    "A message whose names in italics are put as `given` has them; those that it does not have are ellipses."
    def put(f):
        new = given.get(f[1], "…")
        return new.removesuffix("*") + f"{f[2]}*" if f[2] and new.endswith("*") else "…" if f[2] else new
    return re.sub(r"(?<!\\)\*(\w+)((?:\.\w+)*)\*", put, text)

def fullest(told):
    "Errors and messages without those that say nothing, or no more than another does."
    told = [(e, re.sub("…(/?…)+", "…", text)) for e, text in told]
    words = lambda text: re.search("[a-z]", re.sub(r"\*[\w.]+\*", "", text))
    covers = lambda text: re.compile(".+".join(map(re.escape, text.split("…")))).fullmatch
    told = [t for t in told if words(t[1])] or told
    return merged(dict.fromkeys((e, text) for e, text in told if not any(e == o and text != other and covers(text)(other) for o, other in told)))

def merged(told):
    "Errors and messages, two that differ in a single word as one: the training or validation part is empty."
    out, apart = [], lambda a, b: len(a) == len(b) and sum(x != y for x, y in zip(a, b)) == 1
    for e, text in told:
        twin = next((i for i, (o, other) in enumerate(out) if e == o and apart(other.split(), text.split())), None)
        if twin is None: out.append((e, text))
        else: out[twin] = e, " ".join(a if a == b else f"{a} or {b}" for a, b in zip(out[twin][1].split(), text.split()))
    return out

def handed(m, call, to, inside):
    "What a call of the function or class `to`, a module and a name, puts in its messages for each parameter."
    if not isinstance(call, ast.Call): return {}
    names = [n for n, *_ in parameters(*to)]
    given = dict(zip(names, takewhile(lambda a: not isinstance(a, ast.Starred), call.args))) | {k.arg: k.value for k in call.keywords}
    own = {"self": "*self*"} if ast.unparse(call.func).startswith(("self.", "super().")) else {}
    return own | {n: field(m, v, inside) for n, v in given.items()}

def rounds(m, node, inside):
    "The message of an f-string, once for each round of a loop around it over a table that is written out."
    text = field(m, node, inside)
    loops = [n for n in ast.walk(inside) if isinstance(n, ast.For) and isinstance(n.target, ast.Tuple) and isinstance(n.iter, ast.Tuple)]
    for loop in (n for n in loops if any(o is node for o in ast.walk(n))):
        told = [{f"*{t.id}*": field(m, e, inside) for t, e in zip(loop.target.elts, row.elts)} for row in loop.iter.elts]
        return list(dict.fromkeys(re.sub(r"\*\w+\*", lambda f: put.get(f[0], f[0]), text) for put in told))
    return [text]

def sentences(m, node, inside):
    "The messages that an expression can be, as Markdown; `inside` is the function around it."
    again = lambda *nodes: list(chain.from_iterable(sentences(m, n, inside) for n in nodes))
    if isinstance(node, ast.Constant): return [md(node.value)] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr): return rounds(m, node, inside)
    if isinstance(node, ast.IfExp): return again(node.body, node.orelse)
    if isinstance(node, ast.BoolOp): return again(*node.values)
    if isinstance(node, ast.Name):  # given its text elsewhere in the function: by `=` or `:=`, or by a loop over a dict
        given = [n.value for n in ast.walk(inside) if isinstance(n, (ast.Assign, ast.NamedExpr))
                 and node.id in map(ast.unparse, getattr(n, "targets", None) or [n.target])]
        looped = [n.iter.func.value.id for n in ast.walk(inside) if isinstance(n, ast.For) and node.id in ast.unparse(n.target)
                  and re.fullmatch(r"\w+\.items\(\)", ast.unparse(n.iter))]
        return again(*given, *(k for name in looped for n in ast.walk(inside) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Dict)
                               and ast.unparse(n.targets[0]) == name for k in n.value.keys))
    return [filled(s, given) for there, n, f, given in returned(m, node, inside) for s in sentences(there, n, f)]

def returned(m, call, inside):
    "Of a call of a function of the package: what the function returns, with its module, itself and what the call puts for its parameters."
    there = isinstance(call, ast.Call) and find(m, ast.unparse(call.func))
    f = there and there[0].defs.get(there[1])
    return [(there[0], n.value, f, handed(m, call, there, inside)) for n in ast.walk(f) if isinstance(n, ast.Return) and n.value] if f else []

def catches(handlers, trouble):
    "Whether an error is caught for good."
    for h in handlers:
        if h.type and not troubles()[trouble] & set(re.findall(r"\w+", ast.unparse(h.type))): continue
        return not any(ast.unparse(n) in ("raise", f"return str({h.name})") for n in ast.walk(h))
    return False

def made(m, call, inside):
    "The errors and messages that an expression makes: an error of the package, or a helper that returns one."
    there = isinstance(call, ast.Call) and find(m, ast.unparse(call.func))
    if there and there[1] in troubles() | {"warn": 0}:
        return [(there[1] if there[1] in troubles() else "SirenbookWarning", s) for s in (sentences(m, call.args[0], inside) if call.args else ())]
    return [(error, filled(text, given)) for there, n, f, given in returned(m, call, inside) for error, text in made(there, n, f)]

@cache
def local(inside):
    "The names that mean something else within a function than in its module."
    given = {n.arg for n in ast.walk(inside) if isinstance(n, ast.arg)}
    return given | {n.id for n in ast.walk(inside) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

def named(m, node, inside, owner):
    "The module, the name and, of a class, the method that a piece of a function names; None if it names nothing of the package."
    if isinstance(node, ast.Name):
        if node.id == "cls": return m, owner, None
        there = None if node.id in local(inside) else find(m, node.id)
        return there and (*there, None)
    if not isinstance(node, ast.Attribute): return None
    of = ast.unparse(node.value)
    if of == "super()":
        holder = next(c for c, held in m.methods.items() if inside in held.values())
        return next(((*up, node.attr) for up in list(line_up(m, holder))[1:] if node.attr in up[0].methods[up[1]]), None)
    there = (m, owner) if of in ("self", "cls") else find(m, of)
    return (*there, node.attr) if there and there[1] in there[0].methods and method(*there, node.attr) else None

def raised(m, node, inside, owner):
    "What goes wrong in a piece of a function: error, message, and the public function or class it comes through, or None."
    again = lambda nodes: chain.from_iterable(raised(m, n, inside, owner) for n in nodes)
    if isinstance(node, ast.Try):
        yield from (r for r in again(node.body) if not catches(node.handlers, r[0]))
        nodes = [*chain.from_iterable(h.body for h in node.handlers), *node.orelse, *node.finalbody]
    else: nodes = node.body if isinstance(node, ast.FunctionDef) else list(ast.iter_child_nodes(node))
    function = node.func if isinstance(node, ast.Call) else node
    if function is not node: nodes = [*ast.iter_child_nodes(function), *nodes[1:]]
    call = node.exc if isinstance(node, ast.Raise) else node if isinstance(node, ast.Call) and ast.unparse(node.func) == "warn" else None
    yield from ((error, text, None) for error, text in made(m, call, inside))
    if there := named(m, function, inside, owner):
        there, name, part = there
        full = f"{name}.{part}" if part else name
        through = (there.name, full) if is_public(there, name) and not (part or "").startswith("_") else None
        given = handed(m, node, (there, full), inside) if name in there.defs else {}
        yield from ((error, filled(text, given), through or via) for error, text, via in errors(there.name, full))
    yield from again(nodes)

ERRORS = {}

def errors(module, name):
    "What goes wrong in a function, a method, or the making of a class: error, message, and the public function it comes through, or None."
    if (module, name) in ERRORS: return ERRORS[module, name]
    ERRORS[module, name] = []  # for a function that calls itself
    m, owner = modules()[module], name.rpartition(".")[0]
    if name in m.methods: owner, found = name, [method(m, name, part) for part in ("__init__", "__post_init__")]
    else: found = [definition(m, name), head(m, name)] if owner or name in m.defs else []
    out = chain.from_iterable(raised(where, d, d, owner if where is m else of) for where, of, d in filter(None, found))
    ERRORS[module, name] = list(dict.fromkeys(out))
    return ERRORS[module, name]
