"""The style of figures: contrast, lines that differ, and matrices that are averaged."""

import numpy as np
import pytest

from n2n.viz import style


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.1."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#111111"])
def test_text_and_the_oracle_have_contrast_on_light_and_dark_pages(page):
    assert contrast(style.TEXT, page) > 4.2
    assert contrast(style.ORACLE, page) > 3.0
    assert all(contrast(colour, page) > 2.0 for colour in style.COLOURS)
    assert style.TEMPLATE.layout.paper_bgcolor == style.TEMPLATE.layout.plot_bgcolor == style.CLEAR


def test_twenty_lines_differ_in_colour_or_dash():
    looks = [(line["color"], line["dash"]) for line in style.lines(20)]
    assert len(set(looks)) == 20
    assert style.ORACLE not in {colour for colour, _ in looks}


def test_a_large_matrix_is_averaged_with_a_note():
    matrix = np.arange(12.0).reshape(6, 2)
    small, (rows, columns), note = style.reduced(matrix, max_cells=3)
    np.testing.assert_array_equal(small, [[1, 2], [5, 6], [9, 10]])
    assert (rows.tolist(), columns.tolist(), note) == ([0.5, 2.5, 4.5], [0, 1], "6 rows averaged to 3")
    same, _, note = style.reduced(matrix)
    assert note == ""
    np.testing.assert_array_equal(same, matrix)
