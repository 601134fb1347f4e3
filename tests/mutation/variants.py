"""Small changes of a piece of code, as a slip of the hand would make them."""

import re

# In C++ and in SQL, as clang-format and our hands space them.
SWAPS = [
    (r" <= ", " < "), (r" >= ", " > "), (r" < ", " <= "), (r" > ", " >= "),
    (r" == ", " != "), (r" != ", " == "), (r" <> ", " = "),
    (r" && ", " || "), (r" \|\| ", " && "), (r" and ", " or "), (r" or ", " and "),
    (r" \+ ", " - "), (r" - ", " + "), (r" \+= ", " -= "), (r" -= ", " += "),
    (r"(?<=[(, ?:])-(?=[a-z(])", ""),
    (r"\bstd::min\b", "std::max"), (r"\bstd::max\b", "std::min"),
    (r"\bleast\(", "greatest("), (r"\bgreatest\(", "least("),
    (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"(?<![\w.'\[<])0(?![\w.'>])", "1"), (r"(?<![\w.'\[<])1(?![\w.'>])", "2"),
]


def swapped(text, words):
    """Every variant of `text` with one change; `words` are lists of names of which one stands for another."""
    changes = [(match, put) for pattern, put in SWAPS for match in re.finditer(pattern, text)]
    for names in filter(None, words):
        for match in re.finditer(r"|".join(rf"{re.escape(name)}\b" for name in names), text):
            at = names.index(match.group())
            changes.append((match, names[(at + 1) % len(names)]))
    changes.sort(key=lambda change: change[0].start())
    return [text[:match.start()] + put + text[match.end():] for match, put in changes]
