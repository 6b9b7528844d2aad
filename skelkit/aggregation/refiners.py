"""Refiners: one sequence to one of the same shape, so that they compose.

Each function here makes a `skelkit.protocols.Refiner` from settings in seconds and Hertz; frame rates and
uneven time stamps are taken from the sequence. Joints that are missing take no part and stay missing,
except under `bridge_gaps`, which is there to fill them. People are treated each on their own.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from skelkit.aggregation.confidence import discarded
from skelkit.errors import ConfigError
from skelkit.protocols import Refiner
from skelkit.structures import Bool, Float32, Float64, Int64, SkeletonSequence

_PIECE = 512


def chain(*refiners: Refiner) -> Refiner:
    """One refiner after the other."""

    def refine(sequence: SkeletonSequence) -> SkeletonSequence:
        for refiner in refiners:
            sequence = refiner(sequence)
        return sequence

    return refine


def one_euro(
    min_cutoff_hz: float = 1.5, beta_hz: float = 5.0, speed_cutoff_hz: float = 1.0, max_gap_s: float = 0.5
) -> Refiner:
    """The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012): calm at rest, quick in motion.

    Causal, one pass: the only smoother here that would also do for live video, at the price of lag.

    Args:
        min_cutoff_hz: Cutoff frequency of a joint at rest.
        beta_hz: By how much the cutoff rises where a joint travels one person size per second.
        speed_cutoff_hz: Cutoff frequency of the estimate of that speed.
        max_gap_s: After so long unseen, a joint starts afresh.

    Raises:
        ConfigError: a setting out of range.
    """
    _check_positive(min_cutoff_hz=min_cutoff_hz, speed_cutoff_hz=speed_cutoff_hz)
    _check_positive(beta_hz=beta_hz, max_gap_s=max_gap_s, zero_allowed=True)

    def share(cutoff_hz: Float64 | float, dt: Float64) -> Float64:
        """Weight of the new value in a low pass of this cutoff after ``dt`` seconds."""
        turns = 2 * math.pi * cutoff_hz * dt
        return np.asarray(turns / (turns + 1))

    def refine(sequence: SkeletonSequence) -> SkeletonSequence:
        raw, pts_s = sequence.keypoints.astype(np.float64), sequence.pts_s
        people, frames, joints, _ = raw.shape
        size = person_size(sequence)[:, None, None]
        out = np.full_like(raw, np.nan)
        place = np.full((people, joints, raw.shape[3]), np.nan)
        last_raw, speed = place.copy(), np.zeros_like(place)
        when = np.full((people, joints, 1), -np.inf)
        for t in range(frames):
            new, seen = raw[:, t], np.isfinite(raw[:, t]).all(axis=-1, keepdims=True)
            dt = pts_s[t] - when
            afresh = seen & ~(dt <= max_gap_s)
            dt = np.where(np.isfinite(dt) & (dt > 0), dt, 1e-6)
            fresh_speed = (new - last_raw) / dt / size
            next_speed = speed + share(speed_cutoff_hz, dt) * (fresh_speed - speed)
            fast = np.linalg.norm(next_speed, axis=-1, keepdims=True)
            next_place = place + share(min_cutoff_hz + beta_hz * fast, dt) * (new - place)
            follow = seen & ~afresh
            place = np.where(follow, next_place, np.where(afresh, new, place))
            speed = np.where(follow, next_speed, np.where(afresh, 0, speed))
            last_raw, when = np.where(seen, new, last_raw), np.where(seen, pts_s[t], when)
            out[:, t] = np.where(seen, place, np.nan)
        return replace(sequence, keypoints=out.astype(np.float32))

    return refine


def savitzky_golay(window_s: float = 0.3, degree: int = 2) -> Refiner:
    """A polynomial fitted to the time around every frame, and its value there (Savitzky and Golay, 1964).

    The fit is least squares over the true time stamps of the joints seen in the window; on evenly spaced
    gap-free stretches it equals `scipy.signal.savgol_filter`. A window with too few joints for the degree
    leaves the joint as it is.

    Args:
        window_s: Length of the window; it holds the frames up to half of it before and after.
        degree: Of the polynomial.

    Raises:
        ConfigError: a setting out of range.
    """
    _check_positive(window_s=window_s)
    if not 0 <= degree <= 5:
        raise ConfigError(f"savitzky_golay: expected a degree from 0 to 5, got {degree}")

    def refine(sequence: SkeletonSequence) -> SkeletonSequence:
        keypoints = sequence.keypoints.copy()
        for piece, core, inside in _pieces(sequence.pts_s, window_s):
            fitted = _fit(sequence.keypoints[:, piece], sequence.pts_s[piece], window_s, degree)
            keypoints[:, core] = fitted[:, inside]
        return replace(sequence, keypoints=keypoints)

    return refine


def _fit(keypoints: Float32, pts_s: Float64, window_s: float, degree: int) -> Float32:
    """The value at every frame (M, T, K, C) of a polynomial fitted to the window around it."""
    seen = _seen(keypoints)
    value = np.where(seen[..., None], keypoints, 0).astype(np.float64)
    moments = np.zeros((2 * degree + 1, *seen.shape))  # sums of tau^p over the joints seen
    sides = np.zeros((degree + 1, *value.shape))  # sums of tau^p x
    for at, other, seconds in neighbours(pts_s, window_s):
        tau = seconds[:, None] / window_s
        weight = seen[:, other].astype(np.float64)
        # Relative to the joint itself, so that large coordinates cost no precision.
        change = weight[..., None] * (value[:, other] - value[:, at])
        for p in range(2 * degree + 1):
            moments[p][:, at] += weight * tau**p
        for p in range(degree + 1):
            sides[p][:, at] += change * (tau**p)[..., None]
    enough = seen & (moments[0] > degree)
    power = np.add.outer(np.arange(degree + 1), np.arange(degree + 1))
    matrix = np.moveaxis(moments[:, enough][power], -1, 0)  # (n, degree + 1, degree + 1)
    matrix = matrix + 1e-12 * np.eye(degree + 1)  # equal time stamps must not make it singular
    side = np.moveaxis(sides[:, enough], 0, 1)  # (n, degree + 1, C)
    value[enough] += np.linalg.solve(matrix, side)[:, 0]
    return np.where(seen[..., None], value, np.nan).astype(np.float32)


def _pieces(pts_s: Float64, window_s: float) -> Iterator[tuple[slice, slice, slice]]:
    """Stretches of time to work on, so that memory does not grow with the length of the clip.

    Yields:
        The frames to look at, half a window wider than those to change; these; and where these lie in those.
    """
    for start in range(0, len(pts_s), _PIECE):
        stop = min(start + _PIECE, len(pts_s))
        low = int(np.searchsorted(pts_s, pts_s[start] - window_s))
        high = int(np.searchsorted(pts_s, pts_s[stop - 1] + window_s, side="right"))
        yield slice(low, high), slice(start, stop), slice(start - low, stop - low)


def _median(values: Float32) -> Float32:
    """Over the first axis, without NaN; NaN where there is nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a window without a single joint
        return np.asarray(np.nanmedian(values, axis=0))


def butterworth(cutoff_hz: float = 6.0, order: int = 2) -> Refiner:
    """A Butterworth low pass, forward and backward: no lag (scipy.signal.sosfiltfilt).

    Gap-free runs of joints are filtered each on its own, resampled to the run's mean rate where its time
    stamps are uneven. Runs of fewer than 4 frames, and runs sampled too slowly for the cutoff to take
    anything away, stay as they are.

    Args:
        cutoff_hz: Where a joint's motion is damped to half its power, by each pass.
        order: Of the filter, in each direction.

    Raises:
        ConfigError: a setting out of range.
    """
    _check_positive(cutoff_hz=cutoff_hz, order=order)

    def refine(sequence: SkeletonSequence) -> SkeletonSequence:
        import scipy.signal  # slow to import, and most runs do without

        out = sequence.keypoints.copy()
        for start, stop, people, joints in runs(_seen(out)):
            times = sequence.pts_s[start:stop]
            rate = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
            if len(times) < 4 or cutoff_hz >= rate / 2:
                continue
            sos = scipy.signal.butter(order, cutoff_hz, fs=rate, output="sos")
            run = out[people, start:stop, joints].astype(np.float64)  # (n, run, C)
            even = np.linspace(times[0], times[-1], len(times))
            uneven = bool(np.abs(times - even).max() * rate > 0.05)
            if uneven:
                run = _resample(run, times, even)
            default = 3 * (2 * len(sos) + 1)
            run = scipy.signal.sosfiltfilt(sos, run, axis=1, padlen=min(default, len(times) - 1))
            out[people, start:stop, joints] = _resample(run, even, times) if uneven else run
        return replace(sequence, keypoints=out)

    return refine


def remove_outliers(window_s: float = 0.5, deviations: float = 4.0, least: float = 0.03) -> Refiner:
    """Joints far from the median of the time around them become missing (Hampel's identifier).

    Args:
        window_s: Length of the window.
        deviations: How many standard deviations (1.4826 x median absolute deviation) are too far.
        least: Distance from the median, in person sizes, that is never too far.

    Raises:
        ConfigError: a setting out of range.
    """
    _check_positive(window_s=window_s, deviations=deviations)
    _check_positive(least=least, zero_allowed=True)

    def refine(sequence: SkeletonSequence) -> SkeletonSequence:
        size = person_size(sequence)[:, None, None]
        keypoints, scores = sequence.keypoints.copy(), sequence.scores.copy()
        for piece, core, inside in _pieces(sequence.pts_s, window_s):
            joint = sequence.keypoints[:, piece]
            around = list(neighbours(sequence.pts_s[piece], window_s))
            window = np.full((len(around), *joint.shape), np.nan, np.float32)
            for n, (at, other, _) in enumerate(around):
                window[n][:, at] = joint[:, other]
            middle = _median(window)
            spread = _median(np.linalg.norm(window - middle, axis=-1))
            off = np.linalg.norm(joint - middle, axis=-1)
            wrong = (off > np.maximum(deviations * 1.4826 * spread, least * size))[:, inside]
            keypoints[:, core][wrong] = np.nan
            scores[:, core][wrong] = 0
        return replace(sequence, keypoints=keypoints, scores=scores)

    return refine


def bridge_gaps(max_gap_s: float = 0.5, gamma: float = 0.0) -> Refiner:
    """Missing joints between two seen ones are interpolated, in a straight line at constant speed.

    A bridged joint has the lower score of the two ends. With ``gamma`` above 0 the poses that equation 3.3
    discards (C below gamma) count as missing too, and are replaced joint by joint where both ends of the
    gap are kept poses; a bridged pose has the lower C of those. A discarded pose of which nothing can be
    bridged stays as it is, with its C.

    Args:
        max_gap_s: Longest time between the two joints seen.
        gamma: Threshold on C; `skelkit.aggregation.confidence.GAMMA` is the thesis'.

    Raises:
        ConfigError: a setting out of range.
    """
    _check_positive(max_gap_s=max_gap_s)
    _check_positive(gamma=gamma, zero_allowed=True)

    def refine(sequence: SkeletonSequence) -> SkeletonSequence:
        if not sequence.num_frames:
            return sequence
        untrusted = discarded(sequence, gamma)
        kept = np.isfinite(sequence.keypoints).all(axis=-1) & ~untrusted[..., None]
        before, after = _last_and_next(kept)
        pts_s = sequence.pts_s
        bridged = ~kept & (before >= 0) & (after < sequence.num_frames)
        bridged &= (after - before > 1) & (pts_s[after.clip(max=len(pts_s) - 1)] - pts_s[before] <= max_gap_s)
        m, t, k = np.nonzero(bridged)
        a, b = before[m, t, k], after[m, t, k]
        share = ((pts_s[t] - pts_s[a]) / (pts_s[b] - pts_s[a]))[:, None]
        keypoints, scores = sequence.keypoints.copy(), sequence.scores.copy()
        keypoints[m, t, k] = (1 - share) * keypoints[m, a, k] + share * keypoints[m, b, k]
        scores[m, t, k] = np.minimum(scores[m, a, k], scores[m, b, k])
        # Poses that were neither discarded nor absent keep their own C.
        body = untrusted[m, t] | np.isnan(sequence.confidence[m, t])
        ends = np.fmin(sequence.confidence[m, a], sequence.confidence[m, b])[body]
        confidence = _bridged_confidence(sequence.confidence, (m[body], t[body]), ends)
        return replace(sequence, keypoints=keypoints, scores=scores, confidence=confidence)

    return refine


def _bridged_confidence(confidence: Float32, rows: tuple[Int64, Int64], ends: Float32) -> Float32:
    """C of poses (people, frames) with a bridged joint, given the lower C at the ends of each bridge."""
    lowest = np.full(confidence.shape, np.inf, np.float32)
    np.fmin.at(lowest, rows, ends)
    return np.where(np.isfinite(lowest), lowest, confidence)


def person_size(sequence: SkeletonSequence) -> Float64:
    """(M,) longer side of the box around each person's joints, median over time, in pixels; 1 where none."""
    box = np.fmax.reduce(sequence.keypoints, axis=2) - np.fmin.reduce(sequence.keypoints, axis=2)
    side = box.max(axis=-1)
    size = np.asarray([np.median(s[np.isfinite(s)]) if np.isfinite(s).any() else 0 for s in side])
    return np.where(size > 0, size, 1.0)


def neighbours(pts_s: Float64, window_s: float) -> Iterator[tuple[Int64, Int64, Float64]]:
    """The frames within half a window of each frame, one offset at a time.

    Yields:
        Frames, as many other frames, and the seconds from the first to the second.
    """
    half = window_s / 2 * (1 + 1e-9)
    frames = np.arange(len(pts_s))
    widest = int((np.searchsorted(pts_s, pts_s + half, side="right") - 1 - frames).max(initial=0))
    for offset in range(-widest, widest + 1):
        at = frames[max(0, -offset) : len(pts_s) - max(0, offset)]
        tau = pts_s[at + offset] - pts_s[at]
        near = np.abs(tau) <= half
        yield at[near], at[near] + offset, tau[near]


def runs(seen: Bool) -> Iterator[tuple[int, int, Int64, Int64]]:
    """The gap-free stretches of joints, those of equal extent together.

    Args:
        seen: (M, T, K).

    Yields:
        First frame, frame after the last, and the people and joints (n,) that are seen in just these.
    """
    edge = np.diff(np.pad(seen, ((0, 0), (1, 1), (0, 0))).astype(np.int8).swapaxes(1, 2), axis=2)
    people, joints, start = np.nonzero(edge == 1)
    stop = np.nonzero(edge == -1)[2]  # in the same order: every run that begins ends
    extents, which = np.unique(np.stack([start, stop]), axis=1, return_inverse=True)
    order = np.argsort(which, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(which[order])) + 1) if len(order) else []
    for (first, end), group in zip(extents.T.tolist(), groups, strict=True):
        yield first, end, people[group], joints[group]


def _seen(keypoints: Float32) -> Bool:
    return np.asarray(np.isfinite(keypoints).all(axis=-1))


def _last_and_next(kept: Bool) -> tuple[Int64, Int64]:
    """Of each (M, T, K): the nearest kept frame up to it (-1 = none) and from it on (T = none)."""
    frames = kept.shape[1]
    at = np.arange(frames)[:, None]
    before = np.maximum.accumulate(np.where(kept, at, -1), axis=1)
    after = np.minimum.accumulate(np.where(kept, at, frames)[:, ::-1], axis=1)[:, ::-1]
    return before, after


def _resample(values: Float64, old: Float64, new: Float64) -> Float64:
    """(n, T, C) at times ``old``, linearly interpolated to times ``new`` within the same extent."""
    right = np.clip(np.searchsorted(old, new), 1, len(old) - 1)
    share = ((new - old[right - 1]) / (old[right] - old[right - 1]))[:, None]
    return np.asarray((1 - share) * values[:, right - 1] + share * values[:, right])


def _check_positive(*, zero_allowed: bool = False, **settings: float) -> None:
    """Raise ConfigError for a setting that is not above 0 (or not even 0)."""
    for name, value in settings.items():
        if not (math.isfinite(value) and (value > 0 or (zero_allowed and value == 0))):
            wanted = "0 or more" if zero_allowed else "more than 0"
            raise ConfigError(f"refiner: expected {name} to be {wanted}, got {value}")
