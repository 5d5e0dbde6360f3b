"""Export: a registered model as a folder for the Hugging Face hub, or as an ONNX graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.errors import UserError

if TYPE_CHECKING:
    from fgcme.export.onnx_file import Comparison


def export(
    model_uri: str, hub_folder: Path | None = None, onnx: Path | None = None, tracking_uri: str | None = None
) -> None:
    """Export a model, and print what was written.

    Args:
        model_uri: `models:/name@alias`, `models:/name/version`, `runs:/id/model` or a folder.
        hub_folder: gets the weights, the settings, the model card and the code; may not hold anything.
        onnx: file that gets the graph; replaced if it exists.
        tracking_uri: where the model is registered, see `fgcme.tracking.resolve_uri`.

    Raises:
        UserError: nothing is asked for, there is no such model, a model for the hub has no card, or a model that
            cannot be an ONNX graph, or answers otherwise as one.
    """
    if hub_folder is None and onnx is None:
        raise UserError("nothing to export to: give --hub-folder FOLDER, --onnx FILE, or both")
    if onnx is not None and not onnx.parent.is_dir():
        raise UserError(f"{onnx}: there is no folder {onnx.parent}; make it, or give another file with --onnx")
    # Importing torch takes seconds: check the arguments first.
    from fgcme.serving.registry import download_model

    with tempfile.TemporaryDirectory() as scratch:
        folder = download_model(model_uri, tracking_uri, Path(scratch))
        if hub_folder is not None:
            _export_hub_folder(model_uri, folder, hub_folder, tracking_uri)
        if onnx is not None:
            _export_onnx(folder, onnx)


def _export_hub_folder(model_uri: str, folder: Path, destination: Path, tracking_uri: str | None) -> None:
    from fgcme.export.hub_folder import write_hub_folder
    from fgcme.serving.registry import read_card

    card = read_card(model_uri, tracking_uri)
    if card is None:
        raise UserError(
            f"{model_uri} has no model card, which the hub wants: register its run (`fgcme register RUN --name NAME`), "
            "and export models:/NAME/VERSION"
        )
    print(f"{destination}:")
    for path in write_hub_folder(folder, card, destination):
        print(f"  {path.relative_to(destination)!s:<44} {_size(path.stat().st_size):>10}")
    print("  fgcme/                                       the code that loads it")
    print(f'next: fgcme predict {destination} some.wav --text "what is said"')


def _export_onnx(folder: Path, path: Path) -> None:
    from fgcme.export.onnx_file import write_onnx
    from fgcme.serving import ensemble

    members = ensemble.load(folder)
    print(f"{path}: written, and compared with the model", flush=True)
    weights = sum((member / "model.safetensors").stat().st_size for member in ensemble.member_folders(folder))
    for line in describe_comparison(write_onnx(members, path), weights):
        print(line)
    if members[0][1].prepare.copies.speed:
        print("  the graph answers for one recording: average its logits and ratings over the copies of an utterance")


def describe_comparison(comparison: Comparison, weights: int) -> list[str]:
    """The lines about an ONNX file beside its model.

    Args:
        comparison: of the two.
        weights: bytes of the model's weights.
    """
    sizes = {"torch": weights, "onnxruntime": comparison.size}
    return [
        f"  {'':<12} {'size':>10} {'median':>10}",
        *(f"  {name:<12} {_size(size):>10} {1000 * comparison.seconds[name]:>7.2f} ms" for name, size in sizes.items()),
        f"  of an answer, on one thread, over {comparison.utterances} random utterances; the largest difference of "
        f"{comparison.what} is {comparison.difference:.1e}",
    ]


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
