"""OpenCV's ORB with brute-force matching and findHomography over the same frames, the usual way.

usage: opencv.py FOLDER     (a folder made by the accuracy example; needs opencv-python-headless)

Writes what it found as JSON in the form of the example's own answer. Two processes, one thread each.
"""

import json
import multiprocessing
import resource
import sys
import time

import cv2
import numpy as np

RATIO = 0.75
# Chosen after the fact for the best recall at a precision of at least 0.97, to be fair.
LEAST_INLIERS = 12
SAME_PLACE = 0.4


def contains_product(shot):
    """The mask of a shot: what differs from the colour of its corner."""
    ground = shot[2, 2].astype(int)
    return (np.abs(shot.astype(int) - ground).max(axis=2) > 24).astype(np.uint8) * 255


def prepare(folder, truth):
    orb = cv2.ORB_create(nfeatures=1000, fastThreshold=10)
    products = []
    for product in truth["products"]:
        shot = cv2.imread(f"{folder}/products/{product['file']}")
        mask = contains_product(shot)
        grey = cv2.cvtColor(shot, cv2.COLOR_BGR2GRAY)
        keypoints, descriptors = orb.detectAndCompute(grey, mask)
        hull = cv2.convexHull(cv2.findNonZero(mask)).astype(np.float32)
        products.append((np.float32([k.pt for k in keypoints]), descriptors, hull))
    return products


def plausible(outline):
    area = cv2.contourArea(outline)
    return area > 600 and cv2.isContourConvex(np.round(outline).astype(np.int32)) and area < 1280 * 720


def find(product, points, descriptors, matcher):
    known, known_descriptors, hull = product
    pairs = []
    for couple in matcher.knnMatch(known_descriptors, descriptors, k=2):
        if len(couple) == 2 and couple[0].distance < RATIO * couple[1].distance:
            pairs.append(couple[0])
    if len(pairs) < 8:
        return None
    source = np.float32([known[m.queryIdx] for m in pairs])
    target = np.float32([points[m.trainIdx] for m in pairs])
    matrix, inliers = cv2.findHomography(source, target, cv2.RANSAC, 4.0)
    if matrix is None:
        return None
    outline = cv2.perspectiveTransform(hull, matrix)
    count = int(inliers.sum())
    if count < LEAST_INLIERS or not plausible(outline):
        return None
    return count, outline.reshape(-1, 2)


def overlap(a, b):
    common, _ = cv2.intersectConvexConvex(np.float32(a), np.float32(b))
    union = cv2.contourArea(np.float32(a)) + cv2.contourArea(np.float32(b)) - common
    return common / union if union > 0 else 0.0


def work(job):
    folder, part, parts = job
    cv2.setNumThreads(1)
    cv2.setRNGSeed(1)
    started = time.process_time()
    with open(f"{folder}/truth.json") as file:
        truth = json.load(file)
    products = prepare(folder, truth)
    orb = cv2.ORB_create(nfeatures=3000, fastThreshold=10)
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    sightings, count = [], 0
    for video in range(part, len(truth["videos"]), parts):
        with open(f"{folder}/frames/{video}/keyframes.json") as file:
            keyframes = json.load(file)
        best = {}
        for keyframe in keyframes:
            count += 1
            frame = cv2.imread(f"{folder}/frames/{video}/{keyframe['frame'] + 1:05}.jpg", cv2.IMREAD_GRAYSCALE)
            keypoints, descriptors = orb.detectAndCompute(frame, None)
            if descriptors is None:
                continue
            points = np.float32([k.pt for k in keypoints])
            finds = []
            for number, product in enumerate(products):
                found = find(product, points, descriptors, matcher)
                if found:
                    finds.append((number, *found))
            for number, inliers, outline in finds:
                # Of two products in one place the one with more inliers stays.
                if any(n != number and i > inliers and overlap(o, outline) > SAME_PLACE for n, i, o in finds):
                    continue
                key = (number, keyframe["scene"])
                if key not in best or best[key][0] < inliers:
                    best[key] = (inliers, keyframe["from_s"], outline)
        for (number, _), (inliers, second, outline) in best.items():
            corners = [{"x": float(x), "y": float(y)} for x, y in outline]
            sightings.append({"video": video, "product": number, "best_s": second, "score": inliers, "outline": corners})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return sightings, count, time.process_time() - started, peak


def main():
    folder = sys.argv[1]
    with multiprocessing.Pool(2) as pool:
        parts = pool.map(work, [(folder, 0, 2), (folder, 1, 2)])
    print(json.dumps({
        "sightings": [s for part in parts for s in part[0]],
        "keyframes": sum(part[1] for part in parts),
        "spent": {},
        "processor_s": sum(part[2] for part in parts),
        "peak_kb": max(part[3] for part in parts),
    }))


if __name__ == "__main__":
    main()
