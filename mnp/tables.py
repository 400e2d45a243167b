"""Tables as plain text and as Markdown."""


def text_table(rows, left=()):
    """Align rows of cells in columns, separated by two spaces.

    Parameters
    ----------
    rows : list of sequences of str
        The first is the header.
    left : collection of int
        Columns aligned to the left; the others are aligned to the right.

    >>> print(text_table([("layer", "weights"), ("fc3", "1,024"), ("output", "64")], left=[0]))
    layer   weights
    fc3       1,024
    output       64
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(header, rows, right=()):
    """A Markdown table; columns whose number is in `right` are aligned to the right.

    >>> print(markdown_table(["k", "error %"], [["4", "6.67"]], right=[0, 1]))
    | k | error % |
    |---:|---:|
    | 4 | 6.67 |
    """
    rule = ["---:" if i in right else "---" for i in range(len(header))]
    lines = [f"| {' | '.join(row)} |" for row in ([*header], *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])
