"""MediaPipe face detection: BlazeFace, the 468-point face mesh and the refined eye outlines.

BlazeFace: Bazarevsky et al. 2019, arXiv 1907.05047. Face Mesh: Kartynnik et al. 2019, arXiv 1907.06724. Iris model:
Ablavatski et al. 2020, arXiv 2006.11341.
"""

import functools
import threading
from importlib import resources
from typing import Any, Self

import numpy as np
from PIL import Image

from dda.faces.alignment import compute_scale, fit_similarity, resample
from dda.faces.face import Face
from dda.system.native_stderr import drop_stderr_line

DETECTOR_INPUT_PX, MESH_INPUT_PX, EYE_INPUT_PX = 256, 192, 64
"""Sides of the models' input pictures."""

MIN_DETECTION_SCORE, MIN_MESH_SCORE = 0.5, 0.5
"""Confidences of the detector and of the mesh model below which there is no face; MediaPipe's defaults."""

MIN_UPRIGHT_LOGIT = 15.0
"""Logit of the mesh model from which a face counts as upright; below it the face is also tried upside down.

Measured on 76 portraits and their copies turned upside down: a mesh fitted the wrong way up has at most 10.
"""

NMS_IOU_THRESHOLD = 0.3
"""Intersection over union from which non-maximum suppression drops the weaker of two detections; MediaPipe's value."""

MIN_TILE_PX = 160
"""Smallest side of the tiles that are searched in a picture without a detection."""

MESH_CROP_SCALE, EYE_CROP_SCALE = 1.5, 2.3
"""Sides of the input squares, in sides of the face's box and in widths of the eye; as in MediaPipe's graphs."""

XNNPACK_NOTICE = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
"""Line that LiteRT prints when the first interpreter of a process is made; it offers no log level."""

# Indices into the mesh, image-left first. Outlines run around the shape.
EYE_OUTLINES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398),
)
NOSE_TIP = 1
MOUTH_CORNERS = (61, 291)
# The eye model gives its outline as the lower lid from corner to corner (9 points), then the upper lid (7).
_EYE_MODEL_ORDER = (0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 14, 13, 12, 11, 10, 9)


class MeshFace(Face):
    """A face with its mesh: ``landmarks`` (468, 3) float32 in picture pixels (z: depth in the same unit)."""

    def __init__(self, landmarks: np.ndarray, score: float) -> None:
        points = landmarks[:, :2]
        eyes = [points[list(outline)].mean(0) for outline in EYE_OUTLINES]
        key_points = np.stack([*eyes, points[NOSE_TIP], *points[list(MOUTH_CORNERS)]])
        super().__init__(key_points, float(np.ptp(points, axis=0).max()), score)
        self.landmarks = landmarks

    @property
    def points(self) -> np.ndarray:
        """Landmarks in the picture plane, (468, 2)."""
        return self.landmarks[:, :2]

    @property
    def yaw(self) -> float:
        """Yaw of the head in degrees, from the depths of its ears: 0 faces the camera, 90 is a profile."""
        ear_to_ear = self.landmarks[454] - self.landmarks[234]
        return float(np.degrees(np.arctan2(ear_to_ear[2], np.hypot(ear_to_ear[0], ear_to_ear[1]))))

    def transform(self, matrix: np.ndarray) -> Self:
        """Return this face after a similarity transform, a 2x3 matrix from its picture to the new one."""
        points = self.points @ matrix[:, :2].T + matrix[:, 2]
        depth = self.landmarks[:, 2:] * compute_scale(matrix)
        return type(self)(np.concatenate([points, depth], 1).astype(np.float32), self.score)


class FaceDetector:
    """Finds faces and their landmarks. Threads may share it: each has its own interpreters."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._anchors = _make_anchors()

    def __call__(self, image: np.ndarray) -> list[MeshFace]:
        """Return the faces of a picture (uint8 HWC RGB, any size), largest first; an empty list without a face."""
        boxes = self._detect(image) or self._detect_in_tiles(image)
        faces = [face for box in boxes if (face := self._fit_mesh(image, box)) is not None]
        faces.sort(key=lambda face: -face.size)
        distinct: list[MeshFace] = []
        for face in faces:
            center = face.points.mean(0)
            if all(np.hypot(*(center - other.points.mean(0))) > other.size / 4 for other in distinct):
                distinct.append(face)
        return distinct

    def _run(self, model: str, picture: np.ndarray) -> list[np.ndarray]:
        """Run one model on a float32 (H, W, 3) picture; return its outputs without the batch axis."""
        interpreter = getattr(self._local, model, None)
        if interpreter is None:
            interpreter = _open_interpreter(model)
            setattr(self._local, model, interpreter)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"])[0] for output in interpreter.get_output_details()]

    def _detect(self, image: np.ndarray) -> list[np.ndarray]:
        """Detect faces: box corners (2, 2) and key points (6, 2) of each, stacked to (8, 2), in picture pixels."""
        height, width = image.shape[:2]
        side = max(height, width)
        shape = tuple(max(1, round(edge * DETECTOR_INPUT_PX / side)) for edge in (height, width))
        small = np.zeros((DETECTOR_INPUT_PX, DETECTOR_INPUT_PX, 3), np.float32)
        # Area averaging: plain linear interpolation loses small faces.
        resized = Image.fromarray(image).resize(shape[::-1], Image.Resampling.BOX)
        small[: shape[0], : shape[1]] = np.asarray(resized, np.float32) / 127.5 - 1
        regressors, scores = self._run("face_detection_back", small)
        score = 1 / (1 + np.exp(-np.clip(scores[:, 0], -80, 80)))
        raw = regressors.reshape(-1, 8, 2) / DETECTOR_INPUT_PX
        raw[:, [0, 2, 3, 4, 5, 6, 7]] += self._anchors[:, None]
        raw[:, 0], raw[:, 1] = raw[:, 0] - raw[:, 1] / 2, raw[:, 0] + raw[:, 1] / 2
        candidates = np.flatnonzero(score > MIN_DETECTION_SCORE)
        boxes: list[np.ndarray] = []
        for index in candidates[np.argsort(-score[candidates], kind="stable")]:
            box = raw[index] * side
            if all(_compute_iou(box, other) < NMS_IOU_THRESHOLD for other in boxes):
                boxes.append(box)
        return boxes

    def _detect_in_tiles(self, image: np.ndarray) -> list[np.ndarray]:
        """Detect small faces: in half-overlapping tiles of 1/2, then 1/4 of the picture's longer side."""
        height, width = image.shape[:2]
        for division in (2, 4):
            tile = max(height, width) // division
            if tile < MIN_TILE_PX:
                break
            boxes = []
            for top in range(0, max(height - tile // 2, 1), tile // 2):
                for left in range(0, max(width - tile // 2, 1), tile // 2):
                    window = image[top : top + tile, left : left + tile]
                    boxes += [box + [left, top] for box in self._detect(window)]
            if boxes:
                return boxes
        return []

    def _fit_mesh(self, image: np.ndarray, box: np.ndarray) -> MeshFace | None:
        """Fit the mesh to one detection; None when the mesh model sees no face there."""
        side = MESH_CROP_SCALE * np.ptp(box[:2], axis=0).max()
        center, (left, right) = box[:2].mean(0), box[2:4]
        landmarks, logit = self._fit_upright(image, _make_square_matrix(center, left, right, side, MESH_INPUT_PX))
        if logit < MIN_UPRIGHT_LOGIT:  # the detector takes a face upside down for an upright one
            flipped = self._fit_upright(image, _make_square_matrix(center, right, left, side, MESH_INPUT_PX))
            landmarks, logit = max((landmarks, logit), flipped, key=lambda fit: fit[1])
        score = 1 / (1 + np.exp(-logit))
        if score < MIN_MESH_SCORE:
            return None
        self._refine_eyes(image, landmarks)
        return MeshFace(landmarks, score)

    def _fit_upright(self, image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, float]:
        """Fit landmarks (468, 3) in a square, given as output-to-picture matrix; return them and the model's logit."""
        # The detection's square is rough: the second fit uses the square around the first fit's landmarks.
        for _ in range(2):
            picture = resample(image, matrix, MESH_INPUT_PX).astype(np.float32) / 255
            raw, logit = self._run("face_landmark", picture)
            local = raw.reshape(468, 3)
            points = local[:, :2] @ matrix[:, :2].T + matrix[:, 2]
            depth = local[:, 2:] * compute_scale(matrix)
            landmarks = np.concatenate([points, depth], 1).astype(np.float32)
            axis = points[263] - points[33]  # between the outer corners of the eyes
            axis /= np.hypot(*axis)
            rotated = (points - points.mean(0)) @ np.stack([axis, [-axis[1], axis[0]]], 1)
            middle = (rotated.min(0) + rotated.max(0)) / 2
            center = points.mean(0) + middle @ np.stack([axis, [-axis[1], axis[0]]])
            side = MESH_CROP_SCALE * np.ptp(rotated, axis=0).max()
            matrix = _make_square_matrix(center, points[33], points[263], side, MESH_INPUT_PX)
        return landmarks, float(logit.ravel()[0])

    def _refine_eyes(self, image: np.ndarray, landmarks: np.ndarray) -> None:
        """Replace the mesh's eye outlines by those of the iris model, which sees each eye at full resolution."""
        for outline, mirrored in zip(EYE_OUTLINES, (False, True), strict=True):
            corner_0, corner_1 = landmarks[outline[0], :2], landmarks[outline[8], :2]
            side = EYE_CROP_SCALE * float(np.hypot(*(corner_1 - corner_0)))
            matrix = _make_square_matrix((corner_0 + corner_1) / 2, corner_0, corner_1, side, EYE_INPUT_PX)
            if mirrored:  # the model is trained on image-left eyes
                matrix = matrix @ np.array([[-1, 0, EYE_INPUT_PX], [0, 1, 0], [0, 0, 1]])
            picture = resample(image, matrix, EYE_INPUT_PX).astype(np.float32) / 255
            contour = self._run("iris_landmark", picture)[0].reshape(71, 3)[:16, :2]
            refined = (contour @ matrix[:, :2].T + matrix[:, 2])[list(_EYE_MODEL_ORDER)]
            # A mirrored outline starts at the outer corner; EYE_OUTLINES start at the image-left one.
            order = [(8 - i) % 16 for i in range(16)] if mirrored else list(range(16))
            landmarks[list(outline), :2] = refined[order]


def _open_interpreter(model: str) -> Any:  # ai-edge-litert has no types
    interpreter = _load_litert()(model_content=_read_model(model), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


@functools.cache
def _load_litert() -> Any:
    """Import LiteRT's Interpreter and make the first one, whose notice would stand between the lines of a run."""
    from ai_edge_litert.interpreter import Interpreter

    with drop_stderr_line(XNNPACK_NOTICE):
        Interpreter(model_content=_read_model("face_detection_back"), num_threads=1).allocate_tensors()
    return Interpreter


def _read_model(model: str) -> bytes:
    return (resources.files("dda") / "assets" / "mediapipe" / f"{model}.tflite").read_bytes()


def _make_anchors() -> np.ndarray:
    """Make BlazeFace's anchor centers (896, 2) for 256x256: two per cell at stride 16, six per cell at stride 32."""
    anchors = []
    for cells, copies in ((16, 2), (8, 6)):
        centers = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centers, centers, indexing="ij")
        anchors.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), copies, axis=0))
    return np.concatenate(anchors).astype(np.float32)


def _compute_iou(box: np.ndarray, other: np.ndarray) -> float:
    """Compute the intersection over union of two boxes, their corners in rows 0 (low) and 1 (high)."""
    edge = np.minimum(box[1], other[1]) - np.maximum(box[0], other[0])
    intersection = float(np.prod(np.maximum(edge, 0)))
    area = float(np.prod(box[1] - box[0]) + np.prod(other[1] - other[0]))
    return intersection / max(area - intersection, 1e-9)


def _make_square_matrix(center: np.ndarray, left: np.ndarray, right: np.ndarray, side: float, size: int) -> np.ndarray:
    """Return the output-to-picture matrix of a square of ``side`` pixels, its x axis from ``left`` to ``right``."""
    x = (right - left) / max(float(np.hypot(*(right - left))), 1e-6) * side / 2
    y = np.array([-x[1], x[0]])
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], float)
    return fit_similarity(corners, np.stack([center - x - y, center + x - y, center - x + y, center + x + y]))
