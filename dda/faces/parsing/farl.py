"""FaRL face parsing with RetinaFace detection, both run by facer's own code.

FaRL: Zheng et al., CVPR 2022. RetinaFace: Deng et al., CVPR 2020. The parser of the TinyBeauty paper. Masks are class
probabilities, so their edges are as soft as the parser is uncertain.
"""

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import ConvexHull
from torch.nn import functional as F

from dda.errors import OptionError, first_line
from dda.faces.face import Face
from dda.faces.parsing.farl_weights import WeightsFile, check_state_file, check_torchscript, find_weights
from dda.faces.region_masks import RegionMasks
from dda.faces.soft_masks import draw_soft_polygons, smoothstep
from dda.images import resize, to_tensor

# Class names of facer; both label sets have these.
EYE_CLASSES, LIP_CLASSES, BROW_CLASSES, SKIN_CLASSES = ("re", "le"), ("ulip", "llip"), ("rb", "lb"), ("face", "nose")
FACE_CLASSES = (*EYE_CLASSES, *LIP_CLASSES, *BROW_CLASSES, *SKIN_CLASSES, "imouth")

DETECTOR_NAME = "mobilenet"
"""RetinaFace's backbone; facer's default."""

PARSER_INPUT_PX = 448
"""Side of the parser's input picture."""

MIN_DETECTION_SCORE = 0.8
"""Confidence of the detector below which there is no face; facer's default."""

MAX_DETECTION_SIDE_PX = 1024
"""Longer side to which a picture is shrunk for detection; the detector's largest anchors are 512 pixels."""

MIN_CLASS_PROBABILITY = 0.02
"""Probability below which a class counts as absent, so that the background's mask is exactly 0 (law 3)."""

LOWER_LID_HEIGHT_UNITS, UPPER_LID_HEIGHT_UNITS = 20.0, 34.0
"""Distance from the eyeball at which the eye mask ends, below and above, in face units.

Chosen, as `LID_FADE_START`, for the largest overlap with the mesh parser's eye masks.
"""

LID_FADE_START = 0.2
"""Share of that distance at which the eye mask begins to fade out."""

MIN_COMPONENT_AREA_RATIO = 0.1
"""Area of a component of the face relative to the largest one; less is a speck apart from the face."""


class FaRLParser:
    """Parses faces by FaRL, a :class:`dda.faces.parsing.parser.FaceParser`; threads use its networks in turn.

    Every face is parsed in its own forward pass, so its masks do not depend on other faces (law 5).

    Args:
        labels: label set of the parser, "lapa" or "celebm".
        weights: TorchScript file of the parser; None: torch hub's cache, downloaded at first use.
        detector_weights: state file of the RetinaFace detector; None: likewise.
        device: where both run.

    Raises:
        OptionError: facer cannot be imported, a file is missing, damaged or something else, the parser's number of
            classes is not that of the label set, or the device is out of memory.
    """

    def __init__(self, labels: str, weights: str | None, detector_weights: str | None, device: torch.device) -> None:
        # 1. Weights: found, checked and downloaded together, so that one message names everything that is missing.
        facer = _import_facer()
        from facer.face_detection import retinaface
        from facer.face_parsing.farl import pretrain_settings

        model_name = f"{labels}/{PARSER_INPUT_PX}"
        detector_state = retinaface.RetinaFace(cfg=retinaface.cfg_mnet, phase="test").state_dict()
        detector_url, parser_url = retinaface.pretrained_urls[DETECTOR_NAME], pretrain_settings[model_name]["url"][0]
        detector_file, parser_file = find_weights(
            WeightsFile(
                "detector_weights", detector_weights, detector_url, lambda file: check_state_file(file, detector_state)
            ),
            WeightsFile("weights", weights, parser_url, check_torchscript),
        )
        # 2. The detector. It makes its anchors anew for every picture, in a Python loop: 0.1 s at 1024x1024 in which no
        # other thread runs. Its anchors come from this method only.
        retinaface.PriorBox.generate_anchors = generate_anchors
        self._device = device
        self._lock = threading.Lock()
        with _undo_side_effects():
            self._detector = facer.face_detector(
                f"retinaface/{DETECTOR_NAME}", device, model_path=str(detector_file), threshold=MIN_DETECTION_SCORE
            )
        # 3. The parser, checked by one forward pass.
        try:
            with _undo_side_effects(), torch.inference_mode():
                self._parser = facer.face_parser(f"farl/{model_name}", device, model_path=str(parser_file))
                blank = torch.zeros(1, 3, PARSER_INPUT_PX, PARSER_INPUT_PX, device=device)
                num_classes = self._compute_logits(blank).shape[1]
        except torch.OutOfMemoryError as error:
            raise OptionError(
                "name",
                f"FaRL does not fit into the memory of {device}; free some memory, or use the mesh parser",
                "farl",
            ) from error
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise OptionError(
                "weights", f"not a FaRL parser ({first_line(error)}); give the file of {parser_url}", parser_file
            ) from error
        self._classes: list[str] = self._parser.label_names
        if num_classes != len(self._classes):
            raise OptionError(
                "labels",
                f"has {len(self._classes)} classes and the parser {parser_file} has {num_classes}; give the label set "
                "that it was trained on, lapa or celebm",
                labels,
            )

    def detect(self, image: np.ndarray) -> list[Face]:
        """As :meth:`dda.faces.parsing.parser.FaceParser.detect`."""
        height, width = image.shape[:2]
        shrink = max(1.0, max(height, width) / MAX_DETECTION_SIDE_PX)
        small = resize(image, (max(1, round(height / shrink)), max(1, round(width / shrink))))
        # RetinaFace takes values from 0 to 255.
        levels = torch.from_numpy(small.transpose(2, 0, 1).copy())[None].to(self._device)
        with self._lock, torch.inference_mode():
            detections = self._detector(levels)
        scale = np.array([width / small.shape[1], height / small.shape[0]])
        points, boxes, scores = (detections[key].double().cpu().numpy() for key in ("points", "rects", "scores"))
        # Without a face all of these are empty, in shapes that facer does not define.
        faces = [
            Face(key_points * scale, float(((box[2:] - box[:2]) * scale).max()), float(score))
            for key_points, box, score in zip(points, boxes, scores, strict=True)
        ]
        return sorted(faces, key=lambda face: -face.size)

    def regions(self, source: np.ndarray, face: Face) -> RegionMasks[Face]:
        """As :meth:`dda.faces.parsing.parser.FaceParser.regions`."""
        (probabilities,) = self.predict_probabilities([source], [face])

        def sum_classes(classes: Sequence[str]) -> np.ndarray:
            """Sum the probabilities (H, W) of classes; what is almost impossible or certain becomes 0 or 1."""
            total = probabilities[[self._classes.index(name) for name in classes]].sum(0).numpy()
            return np.clip((total - MIN_CLASS_PROBABILITY) / (1 - 2 * MIN_CLASS_PROBABILITY), 0, 1)

        skin, oval = sum_classes(SKIN_CLASSES), draw_face_outline(sum_classes(FACE_CLASSES), face)
        ring = draw_eye_ring(sum_classes(EYE_CLASSES), face)
        masks = np.stack([ring * skin, sum_classes(LIP_CLASSES), (1 - ring) * skin, sum_classes(BROW_CLASSES)]) * oval
        return RegionMasks(masks.astype(np.float32), oval, face)

    def predict_probabilities(self, sources: Sequence[np.ndarray], faces: Sequence[Face]) -> torch.Tensor:
        """Predict class probabilities (N, C, H, W) of N faces, each in its picture, in one forward pass.

        The classes sum to 1 inside the parser's field of view and are 0 outside; with celebm it is a square around the
        face.

        Args:
            sources: N pictures of one size, uint8 (H, W, 3).
            faces: N faces, in pixels of their pictures.
        """
        # facer guesses the range of values from the largest one; float values in [0, 1] are never misread.
        images = torch.stack([to_tensor(source) for source in sources]).to(self._device)
        points = torch.from_numpy(np.stack([face.key_points for face in faces])).float().to(self._device)
        detections = {"image_ids": torch.arange(len(faces), device=self._device), "points": points}
        with self._lock, torch.inference_mode():
            warped, _, inverse_grid = self._parser.warp_images(images, detections)
            # Interpolated white may round to more than 1, which facer rejects. Probabilities are warped back, unlike in
            # facer, which warps logits: outside the field of view a logit of 0 would mean that all classes are equal.
            probabilities = self._compute_logits(warped.clamp(0, 1)).softmax(1)
            return F.grid_sample(probabilities, inverse_grid, mode="bilinear", align_corners=False).cpu()

    def _compute_logits(self, warped: torch.Tensor) -> torch.Tensor:
        """Compute the network's logits (N, C, 448, 448) of faces (N, 3, 448, 448) in [0, 1].

        Raises:
            torch.OutOfMemoryError: TorchScript's interpreter turns it into a plain RuntimeError; here it is restored.
        """
        # Without optimization: TorchScript rewrites a network after its first runs, which changes the last bits.
        try:
            with torch.jit.optimized_execution(False):
                return self._parser.forward_warped(warped, return_preds=False)
        except RuntimeError as error:
            reason = str(error).rpartition("RuntimeError: ")[2]  # above it is a traceback with the network's code
            if "out of memory" in reason:
                raise torch.OutOfMemoryError(reason.strip()) from error
            raise


def generate_anchors(box: Any, device: torch.device) -> torch.Tensor:
    """Generate RetinaFace's anchors, bit for bit as facer's ``PriorBox.generate_anchors``, without its Python loop.

    Args:
        box: a PriorBox: the grids of the detector on a picture of one size.
        device: where the anchors go.

    Returns:
        centers and sizes (A, 4), x y w h, as shares of the picture: grid by grid, row by row, small before large.
    """
    height, width = box.image_size
    grids = []
    for (rows, columns), step, sizes in zip(box.feature_maps, box.steps, box.min_sizes, strict=True):
        y, x, size = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, sizes, indexing="ij")
        grids.append(np.stack([x * step / width, y * step / height, size / width, size / height], -1).reshape(-1, 4))
    anchors = torch.from_numpy(np.concatenate(grids)).float()
    return (anchors.clamp(0, 1) if box.clip else anchors).to(device)


def draw_eye_ring(eyes: np.ndarray, face: Face) -> np.ndarray:
    """Draw the area of eye makeup (H, W) in [0, 1]: 1 at the lids, fading out toward brow and cheek.

    Args:
        eyes: probability (H, W) of an eyeball; an eye that is not seen has no ring.
        face: in pixels of the picture.
    """
    ring = np.zeros_like(eyes)
    eyeballs = eyes > 0.5
    if not eyeballs.any():
        return ring
    margin = int(UPPER_LID_HEIGHT_UNITS * face.unit_px) + 1
    rows, columns = (np.flatnonzero(eyeballs.any(axis)) for axis in (1, 0))
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    window = np.s_[top : rows[-1] + margin + 1, left : columns[-1] + margin + 1]
    distance, nearest = ndimage.distance_transform_edt(~eyeballs[window], return_indices=True)
    down = np.mean(face.mouth_corners, axis=0) - np.mean(face.eye_centers, axis=0)
    offset = np.indices(distance.shape) - nearest
    upward = -(offset[0] * down[1] + offset[1] * down[0]) / (np.hypot(*down) * np.maximum(distance, 1))  # cosine
    height = LOWER_LID_HEIGHT_UNITS + (UPPER_LID_HEIGHT_UNITS - LOWER_LID_HEIGHT_UNITS) * np.clip(upward, 0, 1)
    ring[window] = 1 - smoothstep(distance / (height * face.unit_px), LID_FADE_START, 1)
    return ring


def draw_face_outline(inside: np.ndarray, face: Face) -> np.ndarray:
    """Draw the filled convex hull (H, H) of a face in [0, 1], around its visible parts and its key points.

    The detector also guesses key points that something covers, so the covered part of a face counts as inside. Specks
    apart from the face do not.

    Args:
        inside: probability (H, H) of any part of the face.
        face: in pixels of the picture.
    """
    labels, _ = ndimage.label(inside > 0.5)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    y, x = np.nonzero((areas > MIN_COMPONENT_AREA_RATIO * areas.max())[labels])
    points = np.concatenate([np.stack([x, y], 1) + 0.5, face.key_points])
    return draw_soft_polygons([points[ConvexHull(points).vertices]], len(inside), feather=1.0)


def _import_facer() -> ModuleType:
    try:
        with _undo_side_effects():
            import facer
    except ImportError as error:
        if "libGL" in str(error) or "libgthread" in str(error):
            remedy = "install what OpenCV needs: apt-get install libgl1 libglib2.0-0"
        else:
            remedy = "install it: pip install pyfacer"
        raise OptionError(
            "name", f"facer cannot be imported ({first_line(error)}); {remedy}; or use the mesh parser", "farl"
        ) from error
    return facer


@contextmanager
def _undo_side_effects() -> Iterator[None]:
    """Undo what facer changes in the whole process, and ignore the warnings about its own old code.

    facer turns on cuDNN's benchmark mode, which chooses algorithms by their speed: a run would not be reproducible.
    """
    benchmark = torch.backends.cudnn.benchmark
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
