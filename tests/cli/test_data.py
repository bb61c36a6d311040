"""The command line's data: arrays, tables and images become observations and targets, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from cli.test_main import file, run

import gncodegen as gnc
from gncodegen.cli.data import observations, samples
from gncodegen.cli.files import network_file
from gncodegen.errors import ArrayError, GncodegenError

__all__ = ["file"]


def table(folder, text):
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "x", "y"),
    [
        ("a,b,class\n1,2,left\n3,4.5,right\n", [[1, 2], [3, 4.5]], ["left", "right"]),
        ("1,2,0\n3,4,1\n", [[1, 2], [3, 4]], [0, 1]),
        ("\ufeffx,y\n1,0.5\n\n2,1\n", [[1], [2]], [0.5, 1]),
    ],
)
def test_a_table_has_its_targets_in_the_last_column(tmp_path, text, x, y):
    found, targets = samples([table(tmp_path, text)])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, x)
    assert targets.dtype == np.array(y).dtype
    assert targets.tolist() == y


def test_a_table_to_run_on_is_all_numbers(tmp_path):
    np.testing.assert_array_equal(observations(table(tmp_path, "a,b\n1,2\n3,4\n")), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3\n", r"row 2 of the data has 1 cells, the first 2"),
        ("1,2,0\nx,4,1\n", r"'x' in row 2 of the data, column 1; allowed: numbers"),
        ("a,b\n", "holds no row"),
        ("", "holds no row"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, message):
    with pytest.raises(ArrayError, match=message):
        samples([table(tmp_path, text)])


def test_arrays_in_files(tmp_path):
    x, y = np.ones((3, 2), np.float32), np.array(["a", "b", "a"])
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    for paths in (["x.npy", "y.npy"], ["both.npz"]):
        found = samples([str(tmp_path / path) for path in paths])
        for given, wanted in zip(found, (x, y), strict=True):
            np.testing.assert_array_equal(given, wanted)
    np.savez(tmp_path / "other.npz", a=x)
    for paths in (["other.npz"], ["x.npy"], ["x.npy", "y.npy", "x.npy"], ["none.csv"]):
        with pytest.raises(ArrayError, match="allowed"):
            samples([str(tmp_path / path) for path in paths])
    np.save(tmp_path / "objects.npy", np.array([{}]))
    (tmp_path / "text.npy").write_text("no array")
    for path in ("objects.npy", "text.npy"):
        with pytest.raises(ArrayError, match=r"it is no array file, or holds Python objects; allowed"):
            observations(str(tmp_path / path))


def test_images_are_labelled_by_their_folders(tmp_path):
    image = pytest.importorskip("PIL.Image")
    values = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    for name, array in zip(("dog/b.png", "cat/a.png", "cat/deep/c.PNG"), values, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(array).save(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    x, y = samples([str(tmp_path)])
    np.testing.assert_array_equal(x, values[[1, 2, 0]])
    assert y.tolist() == ["cat", "cat", "dog"]
    np.testing.assert_array_equal(observations(str(tmp_path)), x)
    np.testing.assert_array_equal(observations(str(tmp_path / "dog")), values[:1])
    np.testing.assert_array_equal(observations(str(tmp_path / "dog" / "b.png")), values[:1])
    image.fromarray(values[0, :, :, 0]).save(tmp_path / "dog" / "a.png")
    mixed = observations(str(tmp_path / "dog"))
    assert mixed.shape == (2, 4, 5, 3)
    assert (mixed[0] == values[0, :, :, :1]).all()
    (tmp_path / "dog" / "b.png").unlink()
    assert observations(str(tmp_path / "dog")).shape == (1, 4, 5, 1)
    image.fromarray(values[0, :2]).save(tmp_path / "dog" / "z.png")
    with pytest.raises(ArrayError, match=r"z\.png' has 2×5 pixels, 'a\.png' 4×5"):
        observations(str(tmp_path / "dog"))
    (tmp_path / "dog" / "z.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    with pytest.raises(ArrayError, match="is not an image"):
        observations(str(tmp_path / "dog"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(GncodegenError, match="holds no image"):
        observations(str(tmp_path / "empty"))


def test_a_training_takes_a_table(file, tmp_path, capsys):
    x = np.random.default_rng(1).normal(size=(24, 6)).astype(np.float32)
    labels = np.array(["a", "b", "c"])[np.argmax(x[:, ::2], axis=1)]
    rows = [",".join([*map(repr, map(float, row)), label]) for row, label in zip(x, labels, strict=True)]
    path = table(tmp_path, "\n".join(rows))
    assert run("train", file, path, "--output", tmp_path / "net") == 0
    capsys.readouterr()
    twin = gnc.train_network(x, labels, *(network_file(file)[name] for name in ("layers", "options")))[0]
    loaded = gnc.load(tmp_path / "net")
    np.testing.assert_array_equal(loaded.predict(x), twin.predict(x))
    features = table(tmp_path, "\n".join(row.rpartition(",")[0] for row in rows))
    assert run("run", tmp_path / "net", features) == 0
    assert capsys.readouterr().out.split() == list(loaded.classify(x)[0])
