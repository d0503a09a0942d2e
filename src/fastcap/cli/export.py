"""`fastcap export`: a checkpoint to a model directory of int8 ONNX graphs, refused unless they are worth having."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.cli import quantise
from fastcap.errors import ConfigError, DataError, FastcapError

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

    from fastcap.config import ModelConfig
    from fastcap.data.readers import Example
    from fastcap.evaluation.evaluate import Evaluation
    from fastcap.export.causal import StepAgreement
    from fastcap.export.parallel import Agreement
    from fastcap.model import CaptionModel
    from fastcap.runtime.stepper import OnnxStepper

__all__ = ["add_arguments", "run"]

MIN_MEASURED = 4  # pictures: the confidence is fitted to one half of them and tested on the other
COMPARED = 48  # pictures on which graph and model are compared
COMPARED_STEPS = 20  # and on which they are compared decoding from left to right
MEASURED_STEPS = 12  # tokens, about a caption's, that graphs which write one after another are timed with
MIN_EQUAL = 0.95  # share of equal captions below which an fp32 graph is another model: rounding may turn a tie


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--model", required=True, type=Path, metavar="CHECKPOINT", help="checkpoint directory")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="model directory to write")
    parser.add_argument("--name", metavar="NAME", help="the model's name (that of DIR)")
    parser.add_argument("--description", default="", metavar="TEXT", help="one line about the model")
    parser.add_argument("--dataset", default="flickr8k", metavar="NAME", help="data set to calibrate and measure on")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the data set")
    parser.add_argument("--split", default="val", help="split to measure on (%(default)s)")
    parser.add_argument("--calibration-split", default="train", help="split to calibrate on (%(default)s)")
    parser.add_argument(
        "--calibration", type=int, default=200, metavar="N", help="pictures to calibrate on, 1 to 5000 (%(default)s)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="measure on the first N pictures only")
    parser.add_argument(
        "--max-loss",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="most CIDEr points that int8 may lose against fp32 (%(default)s)",
    )
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8", help="%(default)s")
    quantise.add_arguments(parser)
    parser.set_defaults(usage_error=parser.error)


def run(args: argparse.Namespace) -> int:
    """Export, compare with PyTorch, quantise, measure both, and write the directory if the gate lets it."""
    from rich.console import Console

    from fastcap.checkpoint import load_checkpoint
    from fastcap.data.readers import load_dataset
    from fastcap.quantization.scales import quantised_layers, read_bits, tensor_bits

    if not 1 <= args.calibration <= 5000:
        args.usage_error(f"--calibration is {args.calibration}; allowed: 1 to 5000")
    if args.limit is not None and args.limit < MIN_MEASURED:
        args.usage_error(f"--limit is {args.limit}; allowed: {MIN_MEASURED} or more")
    if args.precision == "fp32" and (args.target_size or args.bits):
        args.usage_error("--precision is fp32; allowed with --target-size or --bits: int8")
    console = Console(stderr=True)
    model, tokenizer = load_checkpoint(args.model)
    layers = quantised_layers(model)
    try:
        bits = read_bits(args.bits, layers) if args.bits else {}
        examples = load_dataset(args.dataset, args.root, args.split)[: args.limit]
        calibration = load_dataset(args.dataset, args.root, args.calibration_split)
    except ConfigError as error:
        args.usage_error(str(error))
    if len(examples) < MIN_MEASURED:
        raise DataError(f"{args.dataset} {args.split} has {len(examples)} pictures; needed: {MIN_MEASURED} or more")
    step = max(1, len(calibration) // args.calibration)
    calibrating = calibration[::step][: args.calibration]
    pictures = load_pictures(calibrating, model.config.image_size)
    feeds = graph_feeds(model.config)
    with tempfile.TemporaryDirectory() as folder:
        parts = quantise.exported_parts(model, Path(folder))
        fp32 = quantise.assembled_graph(parts, Path(folder) / "fp32", model)
        check_equal(model, fp32, pictures, console)
        if args.target_size:
            try:
                bits = quantise.bits_under_size(args, parts, model, tokenizer, pictures, feeds, console)
            except ConfigError as error:
                args.usage_error(str(error))
        reference = measure(fp32, tokenizer, model.config, examples, console)
        chosen, evaluation = fp32, reference
        if args.precision == "int8":
            tensors = tensor_bits(layers, bits)
            chosen = quantise.quantised_graph(parts, Path(folder) / "int8", model, pictures, feeds, tensors)
            evaluation = gated(
                args, fp32, chosen, pictures, feeds, tokenizer, model.config, examples, reference, console
            )
        write(args, chosen, tokenizer, model, examples, evaluation, reference)
    print(args.out)
    return 0


def check_equal(model: CaptionModel, fp32: Path, pictures: np.ndarray, console: Any) -> None:
    """Compare fp32 graphs with PyTorch, in every way of decoding that they have.

    Raises:
        FastcapError: too few captions are equal.
    """
    from fastcap.export.causal import compare_steps
    from fastcap.export.parallel import compare, open_graph

    found: list[tuple[str, Agreement | StepAgreement]] = []
    if model.config.parallel:
        agreement = compare(model, open_graph(fp32), pictures[:COMPARED])
        found.append(("parallel", agreement))
        console.print(
            f"fp32 graph against PyTorch on {agreement.images} pictures: {agreement.equal_captions:.0%} equal, "
            f"confidences within {agreement.confidence_difference:.1e}"
        )
    steps = compare_steps(model, open_stepper(fp32.parent), pictures[:COMPARED_STEPS])
    found.append(("beam-search", steps))
    console.print(
        f"fp32 graphs against PyTorch, from left to right, on {steps.images} pictures: {steps.equal_captions:.0%} "
        f"equal, log-probabilities within {steps.log_p_difference:.1e}"
    )
    for name, each in found:
        if each.equal_captions < MIN_EQUAL:
            raise FastcapError(
                f"the exported graph gives the model's {name} caption on {each.equal_captions:.0%} of "
                f"{each.images} pictures; needed: {MIN_EQUAL:.0%}. Nothing was written"
            )


def open_stepper(folder: Path) -> OnnxStepper:
    """The two graphs that decode from left to right."""
    from fastcap.export.parallel import open_graph
    from fastcap.runtime.stepper import OnnxStepper

    return OnnxStepper(folder, *(open_graph(folder / name) for name in ("encode.onnx", "step.onnx")))


def graph_feeds(config: ModelConfig) -> dict[str, np.ndarray]:
    """What the graph that reads pictures is asked beside them when nobody asks for anything."""
    import numpy as np

    if not config.parallel:
        return {}
    return {
        "length_range": np.array([config.generation.min_length, config.max_length]),
        "candidates": np.array([config.generation.candidates]),
        "penalties": np.zeros(config.vocab_size, np.float32),
    }


def gated(
    args: argparse.Namespace,
    fp32: Path,
    int8: Path,
    pictures: np.ndarray,
    feeds: dict[str, np.ndarray],
    tokenizer: Tokenizer,
    config: ModelConfig,
    examples: list[Example],
    reference: Evaluation,
    console: Any,
) -> Evaluation:
    """Measure the quantised graphs; an error unless they are good enough, small enough and faster.

    Raises:
        FastcapError: the gate refuses; the message says by how much.
    """
    evaluation = measure(int8, tokenizer, config, examples, console)
    loss = reference.metrics["cider"] - evaluation.metrics["cider"]
    sizes = [sum(path.stat().st_size for path in graph.parent.glob("*.onnx")) for graph in (fp32, int8)]
    if config.parallel:
        times = [network_milliseconds(graph, pictures[:1], feeds) for graph in (fp32, int8)]
    else:
        times = [search_milliseconds(graph, pictures[:1]) for graph in (fp32, int8)]
    console.print(
        f"int8 against fp32: {loss:+.2f} CIDEr points lost, {sizes[0] / sizes[1]:.2f}x smaller, "
        f"{times[0] / times[1]:.2f}x faster ({times[0]:.1f} -> {times[1]:.1f} ms for the network)"
    )
    problems = []
    if loss > args.max_loss:
        problems.append(f"it loses {loss:.2f} CIDEr points, allowed: {args.max_loss}")
    if sizes[1] >= sizes[0]:
        problems.append(f"it has {sizes[1]} bytes, fp32 has {sizes[0]}")
    if times[1] >= times[0]:
        problems.append(f"it takes {times[1]:.1f} ms, fp32 takes {times[0]:.1f}")
    size = quantise.directory_size(int8.parent / "measured") + quantise.MANIFEST
    if args.target_size and size > args.target_size:
        problems.append(f"the directory takes {size} bytes, allowed: {args.target_size}")
    if problems:
        raise FastcapError(f"the int8 model is refused: {'; '.join(problems)}. Nothing was written")
    return evaluation


def load_pictures(examples: list[Example], size: int) -> np.ndarray:
    """The examples' pictures as (N, size, size, 3) uint8."""
    import numpy as np

    from fastcap.runtime.images import load_image

    return np.stack([load_image(example.image, (size, size)) for example in examples])


def measure(
    graph: Path, tokenizer: Tokenizer, config: ModelConfig, examples: list[Example], console: Any
) -> Evaluation:
    """Evaluate a graph the way users run it: as a model directory in the runtime."""
    from rich.progress import track

    from fastcap.evaluation.evaluate import evaluate_model
    from fastcap.export.writer import write_bundle
    from fastcap.runtime.captioner import Captioner

    name, directory = graph.parent.name, graph.parent / "measured"
    write_bundle(directory, graph.parent, tokenizer, config, name=name, description="", quality={}, speed={})
    bar = iter(track(range(len(examples)), f"measuring {name}", console=console))
    evaluation = evaluate_model(Captioner.open(directory), examples, on_caption=lambda: next(bar))
    next(bar, None)
    console.print(f"{name}: CIDEr {evaluation.metrics['cider']:.2f} on {len(examples)} pictures")
    return evaluation


def network_milliseconds(graph: Path, picture: np.ndarray, feeds: dict[str, np.ndarray], repeats: int = 30) -> float:
    """Median time of one picture through a graph on one thread."""
    from fastcap.export.parallel import open_graph

    session = open_graph(graph)
    return median_milliseconds(lambda: session.run(None, {"images": picture, **feeds}), repeats)


def search_milliseconds(graph: Path, picture: np.ndarray, repeats: int = 30) -> float:
    """Median time of one picture on one thread through the graphs that decode from left to right: encoded, then read by
    three rows of `MEASURED_STEPS` tokens, whatever a search would choose."""
    import numpy as np

    stepper, rows = open_stepper(graph.parent), np.arange(3)

    def decode() -> None:
        state = stepper.start(stepper.encode(picture), len(rows))
        for _ in range(MEASURED_STEPS):
            _, state = stepper.step(rows, state, rows)

    return median_milliseconds(decode, repeats)


def median_milliseconds(action: Callable[[], object], repeats: int) -> float:
    """Median time of an action, after a few that do not count."""
    from fastcap.evaluation.speed import Timing

    return Timing.of(action, repeats).percentile(50)


def fitted_error(confidences: list[float], supports: list[float], fit: int, test: int) -> float:
    """Calibration error on every second picture, fitted to the others; `fit` and `test` are 0 or 1."""
    from fastcap.evaluation.calibration import calibration_error, fit_calibration
    from fastcap.runtime.contract import Calibration

    fitted = Calibration(*fit_calibration(confidences[fit::2], supports[fit::2]))
    return calibration_error([fitted.confidence(p) for p in confidences[test::2]], supports[test::2])


def fitted_alignment(directory: Path, examples: list[Example]) -> tuple[tuple[float, float], float]:
    """Scale and offset of the scores of texts, and how often a picture scores its own first caption above that of the
    picture after it."""
    import numpy as np

    from fastcap.errors import ConfigError
    from fastcap.evaluation.calibration import fit_alignment
    from fastcap.runtime.captioner import Captioner

    captioner = Captioner.open(directory)
    kept, texts = [], []
    for example in examples:
        for caption in example.captions:
            try:
                texts.append(captioner.embed_texts([caption])[0])
            except ConfigError:  # too long for this model
                continue
            kept.append(example.image)
            break
    images, vectors = captioner.embed_images(kept), np.stack(texts)
    own = (images * vectors).sum(axis=1)
    other = (images * np.roll(vectors, -1, axis=0)).sum(axis=1)
    return fit_alignment(own.tolist(), other.tolist()), float((own > other).mean())


def write(
    args: argparse.Namespace,
    graph: Path,
    tokenizer: Tokenizer,
    model: CaptionModel,
    examples: list[Example],
    evaluation: Evaluation,
    reference: Evaluation,
) -> None:
    """Write the model directory with what was measured."""
    from fastcap.evaluation.calibration import fit_calibration
    from fastcap.export.weights import unheld
    from fastcap.export.writer import write_bundle

    metrics = {name: round(evaluation.metrics[name], 2) for name in ("cider", "bleu_4", "meteor", "rouge_l")}
    confidences, supports = evaluation.calibration()
    calibration = fit_calibration(confidences, supports)
    alignment, told_apart = fitted_alignment(graph.parent / "measured", examples)
    halves = [fitted_error(confidences, supports, part, 1 - part) for part in (0, 1)]
    facts = evaluation.as_json()
    measured = {
        "data": f"{args.dataset} {args.split}, {facts['images']} pictures",
        "command": shlex.join(["fastcap", *sys.argv[1:]]),
        "commit": facts["commit"],
        "date": facts["date"],
    }
    quality = {
        **metrics,
        "cider_fp32": round(reference.metrics["cider"], 2),
        "calibration_error": round(sum(halves) / 2, 4),
        "own_text_preferred": round(told_apart, 4),
        **measured,
    }
    speed = {**facts["latency"], "threads": 1, "machine": facts["machine"]["cpu"], **measured}
    write_bundle(
        args.out,
        graph.parent,
        tokenizer,
        model.config,
        name=args.name or args.out.resolve().name,
        description=args.description,
        calibration=calibration,
        alignment=alignment,
        quality=quality,
        speed=speed,
        unheld=unheld(model, graph.parent),
    )
