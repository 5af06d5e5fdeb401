from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topomap.plot import style
from topomap.plot.sheet import MARGIN, Sheet
from topomap.plot.text import text_width, title_lines, wrap

WORDS = st.text(alphabet="abcdefghiW_.$ ", min_size=0, max_size=60)


@given(WORDS, st.floats(20, 200))
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: float) -> None:
    lines = wrap(text, width, 7)
    assert all(text_width(line, 7) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(WORDS.filter(str.strip), st.floats(50, 200))
def test_titles_fit(name: str, width: float) -> None:
    lines = title_lines(name, "n = 1,234", width, 7)
    assert len(lines) <= 3
    assert all(text_width(line, 7) <= width for line in lines)
    assert lines[-1].endswith("(n = 1,234)")


def test_short_titles_stay_on_one_line() -> None:
    assert title_lines("cat", "n = 3", 100, 7) == ["cat (n = 3)"]
    assert title_lines("cat", "", 100, 7) == ["cat"]


def test_width_grows_with_size() -> None:
    assert text_width("neuron", 14) == pytest.approx(2 * text_width("neuron", 7), rel=0.1)


SENTENCE = "members: by probability (of noise: by outlier score); illicit ill-lit filling 0.123 of 1,234 inputs "


@pytest.mark.parametrize("hinting", ["default", "force_autohint", "none"])
@pytest.mark.parametrize("width", ["single", "double"])
def test_nothing_of_a_sheet_is_clipped_at_any_resolution(hinting: str, width: str) -> None:
    with mpl.rc_context({"text.hinting": hinting}):
        sheet = Sheet(style.figure_width(width))
        figure = sheet.draw(SENTENCE * 9)
        (text,) = figure.texts
        lines = text.get_text().splitlines()
        room = (sheet.width - 2 * MARGIN) * 72
        longest = max(text_width(line, style.SMALL) for line in lines)
        assert 0.95 * room < longest <= room and len(lines) > 4  # the whole width is used
        for dpi in (72, 90, 102, 130, 300):
            figure.set_dpi(dpi)
            figure.canvas.draw()
            box = text.get_window_extent()
            assert box.width == pytest.approx(longest * dpi / 72, rel=0.01), dpi
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 - (MARGIN - 0.03) * dpi and box.y0 >= 0, dpi
            ink = np.asarray(figure.canvas.buffer_rgba())[..., 0] < 200
            assert ink.any() and not ink[:, -max(round(0.4 * MARGIN * dpi), 1) :].any(), dpi
        text.remove()
        assert not figure.texts and mpl.rcParams["text.hinting"] == hinting
