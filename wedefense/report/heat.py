"""Tables of error rates whose cells are coloured."""

from collections.abc import Sequence
from html import escape


def heat_map(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells from no colour for 0 % to red for 50 % and more, on a square root's scale; names of columns may break
    after an underscore, so that more of them are seen at once."""
    def share(text: str) -> str:
        number = text.rstrip("*+")
        return f"{min(float(number) / 50, 1) ** 0.5:.2f}" if number.replace(".", "").isdigit() else "0"

    head = "".join(f"<th scope='col'>{escape(cell).replace('_', '_<wbr>')}</th>" for cell in header)
    body = "".join("<tr>" + f"<td>{escape(row[0])}</td>" + "".join(
        f"<td style='--share:{share(cell)}'>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows)
    return (f"<div class='wide'><table class='heat sorted'><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>")
