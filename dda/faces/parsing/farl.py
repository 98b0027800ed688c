"""FaRL face parsing (Zheng et al., CVPR 2022) with RetinaFace detection, both run by facer's own code.

The paper's parser. Masks are made of its class probabilities, so their edges are as soft as the parser is unsure.
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

from dda.errors import UserError, first_line
from dda.faces.face import Face
from dda.faces.parsing.farl_weights import WeightsFile, check_state, check_torchscript, find_weights
from dda.faces.region_masks import RegionMasks
from dda.faces.soft_masks import ramp, soft_polygons
from dda.images import resize, to_tensor

# Classes by the names that facer gives them; both label sets share these.
EYES, LIPS, BROWS, SKIN = ("re", "le"), ("ulip", "llip"), ("rb", "lb"), ("face", "nose")
FACE = (*EYES, *LIPS, *BROWS, *SKIN, "imouth")

DETECTOR, PARSER_SIZE = "mobilenet", 448
MIN_DETECTION = 0.8
MAX_DETECTION_SIDE = 1024
"""Longer side in pixels to which a picture is shrunk for detection; the detector's anchors end at 512."""

MIN_PROBABILITY = 0.02
"""Probability below which a class is taken for absent, so that the background's mask is exactly 0 (law 3)."""

LID_BELOW, LID_ABOVE = 20.0, 34.0
"""How far the lids reach from the eyeball, down and up, in hundredths of the distance between the eyes."""

LID_FADE = 0.2
"""Share of that reach after which the lids begin to fade out; all three were set by likeness to the mesh's masks."""


SMALL_PART = 0.1
"""Area below which a part is a speck and none of the face, as a share of the largest part."""


class FaRLParser:
    """A :class:`dda.faces.parsing.parser.FaceParser`. Threads take turns at its networks.

    Every face is parsed in a pass of its own, so its masks do not depend on what is parsed beside it (law 5).

    Args:
        labels: label set of the parser, "lapa" or "celebm".
        weights: TorchScript file of the parser; None: torch hub's cache, downloaded at first use.
        detector_weights: state file of the RetinaFace detector; None: likewise.
        device: where both run.

    Raises:
        UserError: facer cannot be imported, a file is missing, damaged or something else, or the parser has another
            number of classes than the label set.
    """

    def __init__(self, labels: str, weights: str | None, detector_weights: str | None, device: torch.device) -> None:
        facer = _import_facer()
        from facer.face_detection import retinaface
        from facer.face_parsing.farl import pretrain_settings

        name = f"{labels}/{PARSER_SIZE}"
        wanted = retinaface.RetinaFace(cfg=retinaface.cfg_mnet, phase="test").state_dict()
        detector_url, parser_url = retinaface.pretrained_urls[DETECTOR], pretrain_settings[name]["url"][0]
        detector_file, parser_file = find_weights(
            WeightsFile(
                "parser.detector_weights", detector_weights, detector_url, lambda file: check_state(file, wanted)
            ),
            WeightsFile("parser.weights", weights, parser_url, check_torchscript),
        )
        # The detector makes its anchors anew for every picture, in a Python loop: 0.1 s at 1024x1024 in which no other
        # thread runs. It looks nothing else of them up, so that one method is all that has to be replaced.
        retinaface.PriorBox.generate_anchors = anchors
        self._device = device
        self._lock = threading.Lock()
        with _side_effects_undone():
            self._detector = facer.face_detector(
                f"retinaface/{DETECTOR}", device, model_path=str(detector_file), threshold=MIN_DETECTION
            )
        try:
            with _side_effects_undone(), torch.inference_mode():
                self._parser = facer.face_parser(f"farl/{name}", device, model_path=str(parser_file))
                classes = self._logits(torch.zeros(1, 3, PARSER_SIZE, PARSER_SIZE, device=device)).shape[1]
        except torch.OutOfMemoryError as error:
            raise UserError(f"device={device}: out of memory for FaRL; free some, or use parser=mesh") from error
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"parser.weights: {parser_file} is no FaRL parser ({first_line(error)}); it should be {parser_url}"
            ) from error
        self._classes: list[str] = self._parser.label_names
        if classes != len(self._classes):
            raise UserError(
                f"parser.weights: {parser_file} tells {classes} classes apart, parser.labels={labels} has "
                f"{len(self._classes)}; give the label set it was trained on, lapa or celebm"
            )

    def detect(self, image: np.ndarray) -> list[Face]:
        """As :meth:`dda.faces.parsing.parser.FaceParser.detect`."""
        height, width = image.shape[:2]
        shrink = max(1.0, max(height, width) / MAX_DETECTION_SIDE)
        small = resize(image, (max(1, round(height / shrink)), max(1, round(width / shrink))))
        # RetinaFace takes gray levels from 0 to 255.
        levels = torch.from_numpy(small.transpose(2, 0, 1).copy())[None].to(self._device)
        with self._lock, torch.inference_mode():
            found = self._detector(levels)
        scale = np.array([width / small.shape[1], height / small.shape[0]])
        points, boxes, scores = (found[key].double().cpu().numpy() for key in ("points", "rects", "scores"))
        # Without a face all of these are empty, and of no shape to rely on: there is nothing to go through.
        faces = [
            Face(five * scale, float(((box[2:] - box[:2]) * scale).max()), float(score))
            for five, box, score in zip(points, boxes, scores, strict=True)
        ]
        return sorted(faces, key=lambda face: -face.size)

    def regions(self, source: np.ndarray, face: Face) -> RegionMasks[Face]:
        """As :meth:`dda.faces.parsing.parser.FaceParser.regions`."""
        (probabilities,) = self.probabilities([source], [face])

        def share(classes: Sequence[str]) -> np.ndarray:
            """Probability (H, W) of any of the classes; what is all but impossible or certain becomes 0 or 1."""
            chosen = probabilities[[self._classes.index(name) for name in classes]].sum(0).numpy()
            return np.clip((chosen - MIN_PROBABILITY) / (1 - 2 * MIN_PROBABILITY), 0, 1)

        skin, oval = share(SKIN), face_outline(share(FACE), face)
        ring = eye_ring(share(EYES), face)
        masks = np.stack([ring * skin, share(LIPS), (1 - ring) * skin, share(BROWS)]) * oval
        return RegionMasks(masks.astype(np.float32), oval, face)

    def probabilities(self, sources: Sequence[np.ndarray], faces: Sequence[Face]) -> torch.Tensor:
        """Class probabilities (N, C, H, W) of N faces, each in its picture, in one pass; 0 where the parser is blind.

        The label set's classes sum to 1 where the parser sees, which for celebm is a square around the face.

        Args:
            sources: N pictures of one size, uint8 (H, W, 3).
            faces: N faces, in pixels of their pictures.
        """
        # facer guesses the range of values from the largest one: [0, 1] in floating point is what it always takes so.
        images = torch.stack([to_tensor(source) for source in sources]).to(self._device)
        points = torch.from_numpy(np.stack([face.key_points for face in faces])).float().to(self._device)
        found = {"image_ids": torch.arange(len(faces), device=self._device), "points": points}
        with self._lock, torch.inference_mode():
            warped, _, back = self._parser.warp_images(images, found)
            # White that was interpolated may round to more than 1, which facer refuses. And probabilities are carried
            # back, not logits as facer does: beyond the parser's view a logit of 0 would mean any class.
            seen = self._logits(warped.clamp(0, 1)).softmax(1)
            return F.grid_sample(seen, back, mode="bilinear", align_corners=False).cpu()

    def _logits(self, warped: torch.Tensor) -> torch.Tensor:
        """The network's word (N, C, 448, 448) on faces (N, 3, 448, 448) in [0, 1].

        Raises:
            torch.OutOfMemoryError: of which TorchScript's interpreter makes a plain RuntimeError.
        """
        # TorchScript's optimizer rewrites a network after its first runs, and then the last bits differ.
        try:
            with torch.jit.optimized_execution(False):
                return self._parser.forward_warped(warped, return_preds=False)
        except RuntimeError as error:
            reason = str(error).rpartition("RuntimeError: ")[2]  # below a traceback that quotes the network's code
            if "out of memory" in reason:
                raise torch.OutOfMemoryError(reason.strip()) from error
            raise


def anchors(box: Any, device: torch.device) -> torch.Tensor:
    """As the ``generate_anchors`` of facer's ``PriorBox``, bit for bit, without its loop over the cells.

    Args:
        box: a PriorBox: the grids of the detector on a picture of one size.
        device: where the anchors go.

    Returns:
        center and size (A, 4), x y w h, as shares of the picture: grid by grid, row by row, small before large.
    """
    height, width = box.image_size
    grids = []
    for (rows, columns), step, sizes in zip(box.feature_maps, box.steps, box.min_sizes, strict=True):
        y, x, size = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, sizes, indexing="ij")
        grids.append(np.stack([x * step / width, y * step / height, size / width, size / height], -1).reshape(-1, 4))
    found = torch.from_numpy(np.concatenate(grids)).float()
    return (found.clamp(0, 1) if box.clip else found).to(device)


def eye_ring(eyes: np.ndarray, face: Face) -> np.ndarray:
    """Where eye makeup goes around the eyes (H, W), in [0, 1]: full at the lids, fading out towards brow and cheek.

    Args:
        eyes: probability (H, W) of an eyeball; where none is seen there is no ring.
    """
    ring = np.zeros_like(eyes)
    seen = eyes > 0.5
    if not seen.any():
        return ring
    margin = int(LID_ABOVE * face.unit) + 1
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    window = np.s_[top : rows[-1] + margin + 1, left : columns[-1] + margin + 1]
    distance, nearest = ndimage.distance_transform_edt(~seen[window], return_indices=True)
    down = np.mean(face.mouth_corners, axis=0) - np.mean(face.eyes, axis=0)
    away = np.indices(distance.shape) - nearest
    rise = -(away[0] * down[1] + away[1] * down[0]) / (np.hypot(*down) * np.maximum(distance, 1))
    reach = LID_BELOW + (LID_ABOVE - LID_BELOW) * np.clip(rise, 0, 1)
    ring[window] = 1 - ramp(distance / (reach * face.unit), LID_FADE, 1)
    return ring


def face_outline(inside: np.ndarray, face: Face) -> np.ndarray:
    """The convex outline of a face, filled (H, H) in [0, 1]: around what is seen of it and around its key points.

    Key points are guessed where something covers the face, so that what is covered counts as inside too. Specks apart
    from the face are none of it.

    Args:
        inside: probability (H, H) of any part of the face.
    """
    parts, _ = ndimage.label(inside > 0.5)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    y, x = np.nonzero((areas > SMALL_PART * areas.max())[parts])
    points = np.concatenate([np.stack([x, y], 1) + 0.5, face.key_points])
    return soft_polygons([points[ConvexHull(points).vertices]], len(inside), 1.0)


def _import_facer() -> ModuleType:
    try:
        with _side_effects_undone():
            import facer
    except ImportError as error:
        if "libGL" in str(error) or "libgthread" in str(error):
            cure = "OpenCV wants it: apt-get install libgl1 libglib2.0-0"
        else:
            cure = "pip install pyfacer"
        raise UserError(
            f"parser=farl: facer cannot be imported ({first_line(error)}); {cure}; parser=mesh does without"
        ) from error
    return facer


@contextmanager
def _side_effects_undone() -> Iterator[None]:
    """Undo what facer does to the whole process, and keep its warnings about its own old code to itself.

    It has cuDNN choose algorithms by a race: the same run would end in other last bits.
    """
    benchmark = torch.backends.cudnn.benchmark
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
