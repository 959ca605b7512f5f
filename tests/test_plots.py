"""What the figures show, read back from what was drawn."""

import io

import numpy as np
import pytest

from portadnn import plots
from portadnn.diagnostics import UnitCensus, layer_signals
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.training.state import EpochRecord


def rows(costs, validation=None, scores=None, rates=None):
    n = len(costs)
    return [
        EpochRecord(epoch, cost, rate, v, s)
        for epoch, cost, rate, v, s in zip(
            range(1, n + 1),
            costs,
            rates or [0.5] * n,
            validation or [None] * n,
            scores or [None] * n,
            strict=True,
        )
    ]


def drawn(line):
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def saved(figure):
    """Drawing finds what making a figure does not: layouts that fail, glyphs that are missing."""
    written = io.BytesIO()
    figure.savefig(written, format="png")
    assert written.getvalue().startswith(b"\x89PNG")


def test_curves_of_a_plain_run():
    figure = plots.training_curves(rows([0.7, 0.6, 0.5]))
    (axes,) = figure.axes
    (line,) = axes.lines
    assert drawn(line) == ([1, 2, 3], [0.7, 0.6, 0.5])
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] == 0
    assert axes.get_title() == "learning rate 0.5"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "cost")
    saved(figure)
    (axes,) = plots.training_curves(rows([0.7, 0.069]), title="cats.h5: 5-4-1\ntest 80%").axes
    assert axes.get_title() == "cats.h5: 5-4-1\ntest 80%\nlearning rate 0.5"
    assert axes.get_yscale() == "log"  # more than a decade


def test_curves_of_a_validated_run_with_a_schedule():
    figure = plots.training_curves(
        rows([2.0, 0.5, 0.01], [2.1, 0.6, 0.9], [0.3, 0.8, 0.7], [0.5, 0.25, 0.125]), title="a $b$"
    )
    cost, score, rate = figure.axes
    training, validation, lowest = cost.lines
    assert drawn(training) == ([1, 2, 3], [2.0, 0.5, 0.01])
    assert drawn(validation) == ([1, 2, 3], [2.1, 0.6, 0.9])
    assert drawn(lowest) == ([2], [0.6])
    assert lowest.get_label() == "lowest, 0.6 at epoch 2"
    assert cost.get_yscale() == "log"  # 0.01 would be no more than the axis
    assert drawn(score.lines[0])[1] == [0.3, 0.8, 0.7]
    assert drawn(rate.lines[0])[1] == [0.5, 0.25, 0.125]
    assert rate.get_xlabel() == "epoch"
    assert cost.get_title() == r"a \$b\$"  # the rate has a panel
    saved(figure)


@pytest.mark.parametrize("costs", [[0.7], [0.0, 0.0], [100.0, 1.0, 0.0]])
def test_curves_of_few_reports_and_of_zeros(costs):
    figure = plots.training_curves(rows(costs))
    assert figure.axes[0].get_yscale() == "linear"
    saved(figure)


def test_show_costs(monkeypatch):
    import matplotlib

    matplotlib.use("agg", force=True)
    from matplotlib import pyplot

    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.gcf()))
    plots.show_costs([(0, 0.7), (100, 0.5)], 0.0075)
    (axes,) = shown[0].axes
    assert drawn(axes.lines[0]) == ([0, 100], [0.7, 0.5])
    assert axes.get_xlabel() == "iteration"
    assert axes.get_yscale() == "linear"
    plots.show_costs([(0, 0.7), (100, 0.007)], 0.0075)
    assert shown[1].axes[0].get_yscale() == "log"
    pyplot.close("all")


def test_the_confusion_matrix_counts():
    labels = np.asarray([0, 0, 0, 1, 1, 2])
    predicted = np.asarray([0, 0, 2, 1, 0, 2])
    figure = plots.confusion_matrix(labels, predicted, ["ant", "bee", "c$t", "dog"], title="test")
    axes = figure.axes[0]
    numbers = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text()
               for t in axes.texts}  # fmt: skip
    assert numbers == {(0, 0): "2", (0, 2): "1", (1, 1): "1", (1, 0): "1", (2, 2): "1"}
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares[0], [2 / 3, 0, 1 / 3, 0])
    np.testing.assert_array_equal(shares[3], 0)  # a class without examples
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ant", "bee", r"c\$t", "dog"]
    assert axes.get_title() == "test\n4 of 6 right, 66.67%"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    saved(figure)


def test_a_confusion_matrix_of_many_classes_has_room():
    labels = np.arange(200)
    figure = plots.confusion_matrix(labels, labels, [f"a long name of class {i}" for i in labels])
    axes = figure.axes[0]
    assert len(axes.texts) == 0
    assert len(axes.get_xticklabels()) <= 25
    assert all(len(t.get_text()) <= 16 for t in axes.get_yticklabels())
    saved(figure)


def captions(figure):
    return [axes.get_title() for axes in figure.axes if axes.images]


def test_the_surest_mistakes_come_first():
    images = np.arange(5 * 6, dtype=np.uint8).reshape(5, 2, 3)
    probabilities = np.asarray([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.55, 0.45]])
    labels = np.asarray([0, 1, 1, 0, 1])  # all but the third are wrong
    figure = plots.mistakes(images, labels, probabilities, ["cat", "dog"], most=3, title="test")
    assert captions(figure) == [
        "cat 90.0%\ntrue: dog",
        "dog 90.0%\ntrue: cat",
        "dog 60.0%\ntrue: cat",
    ]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    np.testing.assert_allclose(shown, images[[1, 3, 0]] / 255)
    assert figure.get_suptitle() == "test: 4 mistakes, the 3 surest\npredicted class, probability"
    saved(figure)


def test_headings_of_mistakes_do_not_touch_and_claim_no_certainty():
    names = ["a very long name of a class", "WWWWWWWWWWWW"]
    chances = np.tile([[1e-9, 1.0], [0.0004, 0.9996]], (5, 1))
    figure = plots.mistakes(np.zeros((10, 2, 2)), np.zeros(10, int), chances, names)
    assert all(" >99.9%\n" in caption for caption in captions(figure))
    saved(figure)  # at 100 pixels to the inch, so that the places are known
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.images]
    cells = [axes.get_window_extent() for axes in figure.axes if axes.images]
    gap = cells[1].x0 - cells[0].x1
    assert all(box.width < cell.width + gap for box, cell in zip(boxes, cells, strict=True))
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    below = figure._suptitle.get_window_extent().y0
    assert max(box.y1 for box in boxes) < below


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
def test_mistakes_of_any_kind_of_image(channels):
    images = np.random.default_rng(0).standard_normal((1, 4, 5, *channels))
    figure = plots.mistakes(images, [1], [[0.7, 0.3]], ["a", "b"])
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == ((4, 5) if channels in [(), (1,)] else (4, 5, *channels))
    assert shown.min() == 0
    assert shown.max() == 1
    assert figure.get_suptitle().startswith("1 mistake\n")
    saved(figure)


def test_first_layer_weights_of_grey_images():
    W1 = np.asarray([[0.0, 1, -2, 0, 0, 0], [0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 4]])
    figure = plots.first_layer_weights(W1, (2, 3))
    assert captions(figure)[:2] == ["3: ±4", "1: ±2"]  # the strongest first
    shown = [axes.images[0] for axes in figure.axes if axes.images]
    np.testing.assert_allclose(np.asarray(shown[1].get_array()), [[0, 0.5, -1], [0, 0, 0]])
    assert shown[0].get_clim() == (-1, 1)  # white is 0
    np.testing.assert_array_equal(np.asarray(shown[2].get_array()), 0)
    key = figure.axes[-1]
    assert [t.get_text() for t in key.get_xticklabels()] == ["-largest", "0", "+largest"]
    assert key.get_xlim() == (-1, 1)
    saved(figure)
    figure = plots.first_layer_weights(W1, (2, 3), most=1)
    assert captions(figure) == ["3: ±4"]
    assert "1 of 3 units" in figure.get_suptitle()


def test_first_layer_weights_of_colour_images():
    W1 = np.asarray([[0.5, -0.5, 0, 0.25, 0, 0]])
    figure = plots.first_layer_weights(W1, (1, 2, 3))
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, [[[1, 0, 0.5], [0.75, 0.5, 0.5]]])
    assert figure.axes[-1].get_xticklabels()[2].get_text() == "+largest of each colour"
    saved(figure)


def test_what_a_unit_learned_of_large_images_stands_out_of_the_noise():
    rng = np.random.default_rng(0)
    W1 = rng.standard_normal((3, 64, 67, 3)) / 100
    learned = np.where(np.arange(67) < 32, 0.01, -0.01)[:, None]  # the noise is as large
    W1[1] += learned
    figure = plots.first_layer_weights(W1.reshape(3, -1), (64, 67, 3), most=1)
    assert captions(figure)[0].startswith("2: ")
    assert "means of 4x4 weights" in figure.get_suptitle()
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (16, 16, 3)
    expected = W1[1, :64, :64].reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shown, (expected / np.abs(expected).max() + 1) / 2)
    assert (shown[:, :8] > 0.5).mean() > 0.999  # 4 standard deviations of a mean
    assert (shown[:, 8:] < 0.5).mean() > 0.999


@pytest.mark.parametrize(
    ("shape", "answer"),
    [((8, 8), True), ((64, 64, 3), True), ((64, 64, 1), True), ((8, 8, 4), True),
     ((64,), False), ((8, 8, 2), False), ((1, 64), False), ((2, 3, 4, 5), False)],
)  # fmt: skip
def test_what_is_an_image(shape, answer):
    assert plots.is_image(shape) is answer


def test_signals_of_several_initialisers():
    X, Y = np.random.default_rng(0).standard_normal((5, 4)), np.ones((1, 4))
    signals = {
        init: layer_signals(X, initialize_parameters_deep([5, 6, 6, 1], init=init, rng=0), Y=Y)
        for init in ("he", "zeros")
    }
    figure = plots.layer_signals(signals)
    z, a, dz, shares = figure.axes
    measured, predicted, *nothing, solid, dashed = z.lines
    assert [(x.get_label(), x.get_linestyle()) for x in (solid, dashed)] == [
        ("measured", "-"), ("theory", "--"),
    ]  # fmt: skip
    legend = [text.get_text() for text in z.get_legend().get_texts()]
    assert legend == ["he", "zeros", "measured", "theory"]
    assert drawn(measured) == ([1, 2, 3], [row.z_square for row in signals["he"]])
    assert drawn(predicted)[1] == [row.z_predicted for row in signals["he"]]
    assert np.isnan([line.get_ydata() for line in nothing]).all()  # no place for 0
    assert drawn(a.lines[0]) == ([1, 2], [row.a_square for row in signals["he"][:2]])
    assert drawn(dz.lines[1])[1] == [row.dz_predicted for row in signals["he"]]
    assert drawn(shares.lines[1]) == ([1, 2], [1.0, 1.0])
    assert z.get_yscale() == a.get_yscale() == dz.get_yscale() == "log"
    saved(figure)
    only_zeros = plots.layer_signals({"zeros": signals["zeros"]})
    assert only_zeros.axes[0].get_yscale() == "linear"
    saved(only_zeros)
    without = {"he": layer_signals(X, initialize_parameters_deep([5, 6, 1], rng=0))}
    assert len(plots.layer_signals(without).axes) == 3


def test_lives_of_units():
    figure = plots.unit_lives([UnitCensus(0, (0, 1)), UnitCensus(5, (2, 0))], [3, 4, 2, 1])
    (axes,) = figure.axes
    first, second = axes.lines
    assert drawn(first) == ([0, 5], [0.0, 0.5])
    assert drawn(second) == ([0, 5], [0.5, 0.0])
    assert first.get_label() == "layer 1, 4 units"
    saved(figure)


def test_values_of_several_outputs():
    y = np.arange(40.0).reshape(10, 4)
    y[:, 3] = 1.0  # without any spread there is no score
    figure = plots.residuals(y, y + 1e-3, ["a", "b", "c", "d"], title="prices")
    assert [ax.get_title() for ax in figure.axes[:4]] == [
        "a  R² 1.000", "b  R² 1.000", "c  R² 1.000", "d  ",
    ]  # fmt: skip
    assert [ax.get_visible() for ax in figure.axes] == [True] * 4 + [False] * 2


def test_a_label_of_one_kind_has_no_curve():
    labels = np.asarray([[0, 1], [1, 1], [0, 1], [1, 1]])
    chances = np.asarray([[0.1, 0.9], [0.8, 0.9], [0.9, 0.9], [0.7, 0.9]])
    figure = plots.roc_and_calibration(labels, chances, ["x", "y"], title="people")
    (entry,) = figure.axes[0].get_legend().get_texts()
    assert entry.get_text() == "x, area 0.500"
    assert plots.roc_and_calibration(labels[:, 1:], chances[:, 1:], ["y"], title="").axes[
        0
    ].get_legend() is None  # fmt: skip
