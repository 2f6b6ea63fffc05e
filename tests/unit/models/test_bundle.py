"""A worker loads the committed bundle, and refuses every broken one with the file and the reason."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jobs.errors import ModelError
from models.clicks.dataset import Event, pad
from models.serving import bundle as bundle_file
from models.serving.bundle import Bundle, load_bundle, read_content, read_manifest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def bundle(eshop_bundle_folder) -> Bundle:
    return load_bundle(eshop_bundle_folder)


@pytest.fixture
def folder(eshop_bundle_folder, tmp_path) -> Path:
    """A copy of the committed bundle, to be broken."""
    return Path(shutil.copytree(eshop_bundle_folder, tmp_path / "bundle"))


def edit_json(file: Path, change) -> None:
    content = json.loads(file.read_bytes())
    change(content)
    file.write_text(json.dumps(content))


def sign(folder: Path) -> None:
    """Make the manifest's hashes fit the files again, as a careless rebuild would."""
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    edit_json(folder / "manifest.json", lambda manifest: manifest.update(files=hashes))


FILES = ("model.onnx", "vocabulary.json")


def inputs(bundle: Bundle, *lines: list[str]) -> list[np.ndarray]:
    sessions = [[Event(item, "view", 1200.0 * position) for position, item in enumerate(line)] for line in lines]
    batch = pad(sessions, bundle.item_index, bundle.type_index)
    return [*batch, np.zeros((len(lines), len(bundle.context_features)), np.float32)]


# What it is


def test_the_committed_bundle_loads_and_names_its_items(bundle):
    assert bundle.version == "eshop-" + bundle.manifest["files"]["model.onnx"][:12]
    assert len(bundle.items) == 218
    assert bundle.items[0] == ""
    assert bundle.items[bundle.item_index["A13"]] == "A13"
    assert bundle.names["A13"] == "trousers A13, beige, $28"
    assert len(bundle.popular) == 200
    assert list(bundle.type_index) == [
        "view", "search", "add_to_cart", "remove_from_cart", "purchase", "rating", "click",
    ]  # fmt: skip
    assert min(bundle.type_index.values()) == 1


def test_the_committed_bundles_stay_small_enough_for_a_repository(eshop_bundle_folder):
    for name, limit_bytes in (("eshop", 3_000_000), ("serenade", 25_000_000)):
        files = (eshop_bundle_folder.parent / name).iterdir()
        assert sum(file.stat().st_size for file in files) < limit_bytes, name


def test_the_serenade_bundle_loads(eshop_bundle_folder):
    assert len(load_bundle(eshop_bundle_folder.parent / "serenade").items) == 18_010


# What it gives


def test_list_is_sorted_has_no_padding_and_no_item_twice(bundle):
    scores, items = bundle.score(*inputs(bundle, ["A13", "A16"], ["B4"]))
    assert scores.shape == items.shape == (2, 100)
    assert scores.dtype == np.float32
    assert items.dtype == np.int64
    assert (np.diff(scores, axis=1) <= 0).all()
    assert items.min() >= 1
    assert items.max() <= 217
    assert all(len(set(row)) == 100 for row in items.tolist())


def test_a_list_is_as_long_as_asked_for(bundle):
    """A list is as long as asked for and no longer than the catalogue."""
    arrays = inputs(bundle, ["A13", "A16"])
    scores, items = bundle.score(*arrays, k=217)
    short_scores, short_items = bundle.score(*arrays, k=7)
    assert (short_items == items[:, :7]).all()
    np.testing.assert_allclose(short_scores, scores[:, :7], atol=1e-5)
    assert bundle.score(*arrays, k=5_000)[1].shape == (1, 217)
    assert sorted(items[0].tolist()) == list(range(1, 218))


def test_an_added_bias_moves_and_drops_items(bundle):
    """What is added to an item's output is added to its score; -1e9 drops it, and the others keep their order."""
    arrays = inputs(bundle, ["A13", "A16"])
    scores, items = (each[0] for each in bundle.score(*arrays, k=20))
    added = np.zeros(217, np.float32)
    added[items[[0, 3]] - 1] = -1e9
    others = np.delete(items, [0, 3])
    assert (bundle.score(*arrays, k=18, bias=added)[1][0] == others).all()
    added[items[7] - 1] = 40
    lifted_scores, lifted = bundle.score(*arrays, k=18, bias=bundle.bias(added))
    assert lifted[0][0] == items[7]
    np.testing.assert_allclose(lifted_scores[0][0], scores[7] + 40, atol=1e-4)
    np.testing.assert_allclose(bundle.score(*arrays, k=20)[0][0], scores, atol=1e-6)


def test_dropped_items_have_scores_below_all_others(bundle):
    added = np.full(217, -1e9, np.float32)
    added[:3] = 0
    scores, items = bundle.score(*inputs(bundle, ["A13"]), k=217, bias=added)
    assert sorted(items[0, :3].tolist()) == [1, 2, 3]
    assert (scores[0, 3:] < -1e8).all()


def test_an_unknown_item_does_not_change_the_list(bundle):
    scores, items = bundle.score(*inputs(bundle, ["A13", "A16"]))
    events = [Event("A13", "view", 0), Event("gone", "view", 600), Event("A16", "view", 1200)]
    batch = pad([events], bundle.item_index, bundle.type_index)
    other_scores, other_items = bundle.score(*batch, np.zeros((1, 4), np.float32))
    assert (items == other_items).all()
    assert (scores == other_scores).all()


def test_more_padding_does_not_change_the_list(bundle):
    items, types, gaps, lengths, context = inputs(bundle, ["A13", "A16"])
    wide = [np.pad(array, ((0, 0), (0, 7))) for array in (items, types, gaps)]
    scores, listed = bundle.score(items, types, gaps, lengths, context)
    wide_scores, wide_listed = bundle.score(*wide, lengths, context)
    np.testing.assert_allclose(scores, wide_scores, atol=1e-5)
    assert (listed == wide_listed).all()


def test_what_lies_in_the_padding_is_never_read(bundle):
    items, types, gaps, lengths, context = inputs(bundle, ["A13"], ["B4", "C20", "P1"])
    scores, _ = bundle.score(items, types, gaps, lengths, context)
    items[0, 1:], types[0, 1:], gaps[0, 1:] = 77, 3, 9.0
    dirty_scores, _ = bundle.score(items, types, gaps, lengths, context)
    np.testing.assert_allclose(scores, dirty_scores, atol=1e-5)


def test_the_order_of_the_rows_does_not_matter(bundle):
    arrays = inputs(bundle, ["A13"], ["B4", "C20", "P1"], ["C20", "C20"], ["P1", "A13"])
    shuffle = np.array([2, 0, 3, 1])
    scores, items = bundle.score(*arrays)
    shuffled_scores, shuffled_items = bundle.score(*(array[shuffle] for array in arrays))
    np.testing.assert_allclose(scores[shuffle], shuffled_scores, atol=1e-5)
    assert (items[shuffle] == shuffled_items).all()


def test_a_row_scores_the_same_alone_and_in_a_batch(bundle):
    arrays = inputs(bundle, ["A13"], ["B4", "C20", "P1"])
    scores, _ = bundle.score(*arrays)
    alone, _ = bundle.score(*(array[:1] for array in arrays))
    np.testing.assert_allclose(scores[:1], alone, atol=1e-5)


def test_untrained_context_has_no_effect(bundle):
    arrays = inputs(bundle, ["A13", "A16"])
    scores, _ = bundle.score(*arrays)
    arrays[-1] = np.array([[3, 1200, 4350, 5]], np.float32)
    assert (bundle.score(*arrays)[0] == scores).all()


# What is refused


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused_by_its_hash(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError, match=rf"{name} .* has sha256 .*, its manifest says") as error:
        load_bundle(folder)
    assert "fix:" in str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused_by_its_hash(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match=rf"{name} \({len(data) // 2:,} bytes\) has sha256"):
        load_bundle(folder)


def test_a_truncated_model_is_refused_even_when_its_hash_fits(folder):
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])
    sign(folder)
    with pytest.raises(ModelError, match=r"model.onnx isn't an ONNX file"):
        load_bundle(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"{name} can't be read"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "name", ["../../escaped", "/abs/x", "x\x1b[31m\nline", "", ".", "..", "-x", "a/b", "a" * 65, "x\n", "ü"]
)
def test_a_bundle_whose_name_is_no_plain_one_is_refused(folder, name):
    edit_json(folder / "manifest.json", lambda manifest: manifest.update(name=name))
    for read in (load_bundle, read_manifest):
        with pytest.raises(ModelError, match=r"manifest.json names the bundle"):
            read(folder)


def test_a_hash_that_would_lead_elsewhere_is_refused(folder):
    edit_json(folder / "manifest.json", lambda manifest: manifest["files"].update({"model.onnx": "/../../elsewhere"}))
    with pytest.raises(ModelError, match=r"says that model.onnx has sha256 '/../../elsewhere'"):
        read_manifest(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.sig"])
def test_a_file_that_is_too_large_is_not_read(folder, name, monkeypatch):
    (folder / "manifest.sig").write_bytes(b"")
    size = (folder / name).stat().st_size
    monkeypatch.setitem(bundle_file.LIMITS, name, size)
    read_content(folder)
    with (folder / name).open("ab") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that takes no room
    with pytest.raises(ModelError, match=rf"{name} has more than {size:,} bytes"):
        read_content(folder)


def test_a_manifest_without_a_field_is_refused(folder):
    edit_json(folder / "manifest.json", lambda manifest: manifest.pop("golden"))
    with pytest.raises(ModelError, match=r"manifest.json isn't a manifest.*golden"):
        load_bundle(folder)


def test_a_manifest_with_another_input_is_refused(folder):
    edit_json(folder / "manifest.json", lambda manifest: manifest["inputs"][0].update(name="products"))
    with pytest.raises(ModelError, match=r"manifest.json has inputs .*products.*the worker feeds .*items"):
        load_bundle(folder)


def test_manifest_with_one_more_context_feature_than_graph_is_refused(folder):
    edit_json(folder / "manifest.json", lambda manifest: manifest["context_features"].append("visitor:extra"))
    with pytest.raises(ModelError, match=r"model.onnx has inputs .*'batch', 4.*the worker feeds .*'batch', 5"):
        load_bundle(folder)


def test_a_context_feature_that_names_no_view_is_refused(folder):
    edit_json(folder / "manifest.json", lambda manifest: manifest["context_features"].__setitem__(0, "views"))
    with pytest.raises(ModelError, match=r"manifest.json has context features \['views'\] that aren't view:feature"):
        load_bundle(folder)


def test_a_vocabulary_of_another_size_is_refused(folder):
    edit_json(folder / "vocabulary.json", lambda vocabulary: vocabulary["items"].append("new"))
    sign(folder)
    with pytest.raises(ModelError, match=r"vocabulary.json has 218 items, the manifest says 217"):
        load_bundle(folder)


def test_a_vocabulary_with_an_item_twice_is_refused(folder):
    def repeat(vocabulary):
        vocabulary["items"][1] = vocabulary["items"][0]

    edit_json(folder / "vocabulary.json", repeat)
    sign(folder)
    with pytest.raises(ModelError, match=r"vocabulary.json has 1 items twice"):
        load_bundle(folder)


def test_other_golden_scores_than_the_graph_gives_are_refused(folder):
    def shift(manifest):
        manifest["golden"]["outputs"]["scores"][0][0] += 0.01

    edit_json(folder / "manifest.json", shift)
    with pytest.raises(ModelError, match=r"model.onnx doesn't give its golden scores"):
        load_bundle(folder)


def test_the_differing_golden_place_is_named_with_its_value(folder):
    def shift(manifest):
        manifest["golden"]["outputs"]["scores"][2][7] = 99.5

    edit_json(folder / "manifest.json", shift)
    with pytest.raises(ModelError, match=r"row 2, place 7 is -?\d+\.\d+, expected 99\.5; 1 of 80 places differ"):
        load_bundle(folder)


def test_golden_places_beyond_a_shown_list_are_not_compared(folder):
    def append(manifest):  # as in bundles that were exported with 100 places
        for name, value in (("scores", -99.0), ("items_out", 217)):
            for row in manifest["golden"]["outputs"][name]:
                assert len(row) == 20
                row.append(value)

    edit_json(folder / "manifest.json", append)
    assert len(load_bundle(folder).items) == 218


def test_other_golden_items_than_the_graph_gives_are_refused(folder):
    edit_json(folder / "manifest.json", lambda manifest: manifest["golden"]["outputs"]["items_out"][0].reverse())
    with pytest.raises(ModelError, match=r"model.onnx doesn't list its golden items"):
        load_bundle(folder)


def test_a_manifest_without_a_golden_row_is_refused(folder):
    def empty(manifest):
        manifest["golden"]["outputs"] = {"scores": [[]], "items_out": [[]]}

    edit_json(folder / "manifest.json", empty)
    with pytest.raises(ModelError, match=r"manifest.json has golden outputs of shape \(1, 0\)"):
        load_bundle(folder)


def test_golden_inputs_that_do_not_run_are_refused(folder):
    def narrow(manifest):
        manifest["golden"]["inputs"]["context"] = [[0.0]] * 4

    edit_json(folder / "manifest.json", narrow)
    with pytest.raises(ModelError, match=r"model.onnx doesn't run on its golden inputs"):
        load_bundle(folder)


def test_a_manifest_of_a_later_format_is_refused(folder):
    edit_json(folder / "manifest.json", lambda manifest: manifest.update(format=2))
    with pytest.raises(ModelError, match=r"manifest.json isn't a manifest: .*2"):
        load_bundle(folder)


# What is refused, with a graph that was edited by onnx


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="onnx isn't installed: pip install 'liveshelf[train]'")


def test_a_graph_with_another_input_name_is_refused(folder, onnx):
    graph = onnx.load(folder / "model.onnx")
    graph.graph.input[0].name = "products"
    for node in graph.graph.node:
        node.input[:] = ["products" if name == "items" else name for name in node.input]
    onnx.save(graph, folder / "model.onnx")
    sign(folder)
    with pytest.raises(ModelError, match=r"model.onnx has inputs .*products.*the worker feeds .*items"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["bias", "fast.bias"])
def test_a_graph_whose_items_nothing_holds_back_is_refused(folder, onnx, name):
    """Another name hides `bias`; of `fast.bias`, a name that means something else there, one number is left."""
    graph = onnx.load(folder / "model.onnx")
    if name == "bias":
        for tensor in graph.graph.initializer:
            tensor.name = "offset" if tensor.name == name else tensor.name
        for node in graph.graph.node:
            node.input[:] = ["offset" if each == name else each for each in node.input]
    else:
        (tensor,) = [tensor for tensor in graph.graph.initializer if tensor.name == name]
        tensor.CopyFrom(onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [1], bytes(4), raw=True))
    onnx.save(graph, folder / "model.onnx")
    sign(folder)
    with pytest.raises(ModelError, match=r"model.onnx has biases .*shelves' rules need `bias` of all 217 items"):
        load_bundle(folder)


def test_a_graph_that_gives_nan_is_refused(folder, onnx):
    graph = onnx.load(folder / "model.onnx")
    (bias,) = [tensor for tensor in graph.graph.initializer if tensor.name == "bias"]
    bias.raw_data = np.full(217, np.nan, np.float32).tobytes()
    onnx.save(graph, folder / "model.onnx")
    sign(folder)
    with pytest.raises(ModelError, match=r"model.onnx gives \d+ scores that aren't finite"):
        load_bundle(folder)


@pytest.mark.parametrize(("weight", "precise"), [(64, False), (-64, False), (65, True), (-65, True)])
def test_weights_of_eight_bits_are_multiplied_without_saturation(folder, onnx, weight, precise):
    # Bundles of older versions have such weights. onnxruntime's documented option for them takes its exact kernels.
    graph = onnx.load(folder / "model.onnx")
    (items,) = [tensor for tensor in graph.graph.initializer if tensor.name == "fast.items"]
    items.raw_data = np.int8(weight).tobytes() + items.raw_data[1:]
    onnx.save(graph, folder / "model.onnx")
    sign(folder)
    options = load_bundle(folder).session.get_session_options()
    try:
        entry = options.get_session_config_entry("session.x64quantprecision")
    except RuntimeError:  # it isn't set
        entry = "0"
    assert entry == ("1" if precise else "0")


def test_a_graph_with_external_data_is_refused(folder, onnx):
    graph = onnx.load(folder / "model.onnx")
    onnx.save(graph, folder / "model.onnx", save_as_external_data=True, location="weights.bin")
    sign(folder)
    with pytest.raises(ModelError, match=r"model.onnx keeps weights in other files"):
        load_bundle(folder)
