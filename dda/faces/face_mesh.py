"""Faces by MediaPipe: BlazeFace detection, the 468-point face mesh and the refined eye outlines."""

import threading
from importlib import resources
from typing import Self

import numpy as np
from PIL import Image

from dda.faces.alignment import fit_similarity, resample, scale_of
from dda.faces.face import Face

SURE = 15.0
"""Logit of the mesh model from which a face is taken to stand the way it was found. Measured on 76 portraits and their
copies turned upside down: faces found the wrong way up have 10 at most, and more when they are turned over."""

DETECTOR_SIZE, MESH_SIZE, EYE_SIZE = 256, 192, 64
MIN_DETECTION, MIN_MESH = 0.5, 0.5
MIN_TILE = 320
"""Pictures with no face found are searched again in tiles, down to this tile side in pixels."""

# Indices into the mesh, image-left first. Outlines run round the shape.
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
        """Turn of the head to its side in degrees, from the depths of its ears: 0 faces the camera, 90 is a profile."""
        across = self.landmarks[454] - self.landmarks[234]  # from ear to ear
        return float(np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1]))))

    def moved(self, matrix: np.ndarray) -> Self:
        """The same face seen through a 2x3 input-to-output matrix."""
        points = self.points @ matrix[:, :2].T + matrix[:, 2]
        depth = self.landmarks[:, 2:] * scale_of(matrix)
        return type(self)(np.concatenate([points, depth], 1).astype(np.float32), self.score)


class FaceDetector:
    """Finds faces and their landmarks; safe to share between threads (each gets interpreters of its own)."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._anchors = _blazeface_anchors()

    def __call__(self, image: np.ndarray) -> list[MeshFace]:
        """Faces of a picture (uint8 HWC RGB, any size), largest first; an empty list when there is none."""
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
        """One model on one float32 (H, W, 3) picture; its outputs, flat."""
        interpreter = getattr(self._local, model, None)
        if interpreter is None:
            interpreter = _interpreter(model)
            setattr(self._local, model, interpreter)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"])[0] for output in interpreter.get_output_details()]

    def _detect(self, image: np.ndarray) -> list[np.ndarray]:
        """Key points (6, 2) and box corners (2, 2) of each detection, stacked to (8, 2), in picture pixels."""
        height, width = image.shape[:2]
        side = max(height, width)
        shape = tuple(max(1, round(edge * DETECTOR_SIZE / side)) for edge in (height, width))
        small = np.zeros((DETECTOR_SIZE, DETECTOR_SIZE, 3), np.float32)
        # Area averages: a plain linear shrink loses small faces.
        shrunk = Image.fromarray(image).resize(shape[::-1], Image.Resampling.BOX)
        small[: shape[0], : shape[1]] = np.asarray(shrunk, np.float32) / 127.5 - 1
        regressors, scores = self._run("face_detection_back", small)
        score = 1 / (1 + np.exp(-np.clip(scores[:, 0], -80, 80)))
        raw = regressors.reshape(-1, 8, 2) / DETECTOR_SIZE
        raw[:, [0, 2, 3, 4, 5, 6, 7]] += self._anchors[:, None]
        raw[:, 0], raw[:, 1] = raw[:, 0] - raw[:, 1] / 2, raw[:, 0] + raw[:, 1] / 2
        keep = np.flatnonzero(score > MIN_DETECTION)
        found: list[np.ndarray] = []
        for index in keep[np.argsort(-score[keep], kind="stable")]:
            box = raw[index] * side
            if all(_overlap(box, other) < 0.3 for other in found):
                found.append(box)
        return found

    def _detect_in_tiles(self, image: np.ndarray) -> list[np.ndarray]:
        """Detections in half-overlapping tiles of half, then a quarter of the picture: faces too small at first."""
        height, width = image.shape[:2]
        for division in (2, 4):
            tile = max(height, width) // division
            if tile < MIN_TILE // 2:
                break
            found = []
            for top in range(0, max(height - tile // 2, 1), tile // 2):
                for left in range(0, max(width - tile // 2, 1), tile // 2):
                    window = image[top : top + tile, left : left + tile]
                    found += [box + [left, top] for box in self._detect(window)]
            if found:
                return found
        return []

    def _fit_mesh(self, image: np.ndarray, box: np.ndarray) -> MeshFace | None:
        """Landmarks of one detection; None when the mesh model sees no face there."""
        side = 1.5 * np.ptp(box[:2], axis=0).max()
        center, (left, right) = box[:2].mean(0), box[2:4]
        landmarks, logit = self._fit_upright(image, _upright_square(center, left, right, side, MESH_SIZE))
        if logit < SURE:  # the detector also finds faces that stand on their heads, and takes them for upright ones
            turned = self._fit_upright(image, _upright_square(center, right, left, side, MESH_SIZE))
            landmarks, logit = max((landmarks, logit), turned, key=lambda fit: fit[1])
        score = 1 / (1 + np.exp(-logit))
        if score < MIN_MESH:
            return None
        self._refine_eyes(image, landmarks)
        return MeshFace(landmarks, score)

    def _fit_upright(self, image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, float]:
        """Landmarks (468, 3) of the face in a square, given as output-to-picture matrix, and the model's logit."""
        # The detection's square is rough: the second fit starts from the first one's landmarks.
        for _ in range(2):
            picture = resample(image, matrix, MESH_SIZE).astype(np.float32) / 255
            raw, logit = self._run("face_landmark", picture)
            local = raw.reshape(468, 3)
            points = local[:, :2] @ matrix[:, :2].T + matrix[:, 2]
            depth = local[:, 2:] * scale_of(matrix)
            landmarks = np.concatenate([points, depth], 1).astype(np.float32)
            turn = points[263] - points[33]
            turn /= np.hypot(*turn)
            along = (points - points.mean(0)) @ np.stack([turn, [-turn[1], turn[0]]], 1)
            middle = (along.min(0) + along.max(0)) / 2
            center = points.mean(0) + middle @ np.stack([turn, [-turn[1], turn[0]]])
            matrix = _upright_square(center, points[33], points[263], 1.5 * np.ptp(along, axis=0).max(), MESH_SIZE)
        return landmarks, float(logit.ravel()[0])

    def _refine_eyes(self, image: np.ndarray, landmarks: np.ndarray) -> None:
        """Replace the mesh's eye outlines by those of the iris model, which sees each eye at full size."""
        for outline, mirrored in zip(EYE_OUTLINES, (False, True), strict=True):
            corner_0, corner_1 = landmarks[outline[0], :2], landmarks[outline[8], :2]
            side = 2.3 * float(np.hypot(*(corner_1 - corner_0)))
            matrix = _upright_square((corner_0 + corner_1) / 2, corner_0, corner_1, side, EYE_SIZE)
            if mirrored:  # the model knows image-left eyes only
                matrix = matrix @ np.array([[-1, 0, EYE_SIZE], [0, 1, 0], [0, 0, 1]])
            picture = resample(image, matrix, EYE_SIZE).astype(np.float32) / 255
            contour = self._run("iris_landmark", picture)[0].reshape(71, 3)[:16, :2]
            refined = (contour @ matrix[:, :2].T + matrix[:, 2])[list(_EYE_MODEL_ORDER)]
            # A mirrored outline runs from the outer corner; ours from the image-left one.
            order = [(8 - i) % 16 for i in range(16)] if mirrored else list(range(16))
            landmarks[list(outline), :2] = refined[order]


def _interpreter(model: str):  # type: ignore[no-untyped-def]  # ai-edge-litert carries no types
    from ai_edge_litert.interpreter import Interpreter

    data = (resources.files("dda") / "assets" / "mediapipe" / f"{model}.tflite").read_bytes()
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _blazeface_anchors() -> np.ndarray:
    """Anchor centers (896, 2) of the 256x256 detector: two a cell at stride 16, six a cell at stride 32."""
    anchors = []
    for cells, copies in ((16, 2), (8, 6)):
        centers = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centers, centers, indexing="ij")
        anchors.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), copies, axis=0))
    return np.concatenate(anchors).astype(np.float32)


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of the boxes in rows 0 (low corner) and 1 (high corner)."""
    edge = np.minimum(box[1], other[1]) - np.maximum(box[0], other[0])
    inter = float(np.prod(np.maximum(edge, 0)))
    area = float(np.prod(box[1] - box[0]) + np.prod(other[1] - other[0]))
    return inter / max(area - inter, 1e-9)


def _upright_square(center: np.ndarray, left: np.ndarray, right: np.ndarray, side: float, size: int) -> np.ndarray:
    """Output-to-picture matrix of a square of ``side`` pixels whose x axis runs from ``left`` to ``right``."""
    x = (right - left) / max(float(np.hypot(*(right - left))), 1e-6) * side / 2
    y = np.array([-x[1], x[0]])
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], float)
    return fit_similarity(corners, np.stack([center - x - y, center + x - y, center - x + y, center + x + y]))
