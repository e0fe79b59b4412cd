"""Plain methods that a head for whole sequences has to beat, trained on the same records.

==============  ================================================================================
k-mers          logistic regression on the frequencies of words of 1 to 5 nucleotides
weight array    for windows of one length: position by position, how likely a nucleotide follows
                the one before it in each class (Zhang and Marr 1993, CABIOS 9:499)
boosting        gradient boosting on the nucleotides counted from the 3' end, words of 1 to 3, and
                the start codons in each frame (numbers)
ridge           ridge regression on the same (numbers)
==============  ================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Predict = Callable[[Sequence[str]], npt.NDArray[Any]]

#: Nucleotides from the 3' end that are told apart by position.
REACH = 100

#: Added to each count of the weight array.
_PRIOR = 1.0

_CODE = bytes("ACGU".index(chr(b)) if chr(b) in "ACGU" else 4 for b in range(256))


def codes(sequence: str) -> npt.NDArray[np.uint8]:
    """0 to 3 for A, C, G, U, 4 for any other letter."""
    return np.frombuffer(sequence.encode("ascii").translate(_CODE), np.uint8)


def word_regression(
    sequences: Sequence[str], labels: Sequence[str], *, longest: int = 5
) -> Predict:
    """Fit a logistic regression on word frequencies; the words of each length add up to 1.

    Examples
    --------
    >>> predict = word_regression(["AAAA", "AAAC", "GGGG", "GGGC"], ["a", "a", "g", "g"])
    >>> predict(["AAAU"]).tolist()
    ['a']
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # A regularisation that was chosen once for nRC's training set, and is kept for all.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    model.fit(np.stack([_words(s, longest) for s in sequences]), list(labels))
    return lambda items: model.predict(np.stack([_words(s, longest) for s in items]))


def _words(sequence: str, longest: int) -> npt.NDArray[np.float32]:
    letters = codes(sequence).astype(np.int64)
    result = []
    for k in range(1, longest + 1):
        number, good = np.zeros(max(len(letters) - k + 1, 0), np.int64), True
        for shift in range(k):
            part = letters[shift : shift + len(number)]
            number = number * 4 + part
            good = good & (part < 4)
        found = number[good] if len(number) else number
        result.append(np.bincount(found, minlength=4**k) / max(len(found), 1))
    return np.concatenate(result).astype(np.float32)


def weight_array(sequences: Sequence[str], labels: Sequence[str]) -> Predict:
    """Fit a weight array model to windows of one length; ties go to the first class by name.

    Examples
    --------
    >>> predict = weight_array(["ACGU", "ACGU", "AGCU", "AGCU"], ["x", "x", "y", "y"])
    >>> predict(["ACGA", "AGCA"]).tolist()
    ['x', 'y']
    """
    names, member = np.unique(np.asarray(labels), return_inverse=True)
    windows = _stack(sequences)
    length = windows.shape[1]
    tables = np.full((len(names), length, 5, 5), _PRIOR)
    before = np.concatenate([np.full((len(windows), 1), 4), windows[:, :-1]], axis=1)
    for k in range(len(names)):
        rows = member == k
        for at in range(length):
            np.add.at(tables[k, at], (before[rows, at], windows[rows, at]), 1.0)
    logs = np.log(tables / tables.sum(axis=3, keepdims=True))
    prior = np.log(np.bincount(member) / len(member))

    def predict(items: Sequence[str]) -> npt.NDArray[Any]:
        found = _stack(items)
        last = np.concatenate([np.full((len(found), 1), 4), found[:, :-1]], axis=1)
        at = np.arange(length)
        scores = np.stack([logs[k][at, last, found].sum(axis=1) for k in range(len(names))])
        return np.asarray(names[(scores + prior[:, None]).argmax(axis=0)])

    return predict


def _stack(sequences: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.stack([codes(s) for s in sequences]).astype(np.int64)


def leader_features(sequences: Sequence[str]) -> Floats:
    """Numbers that describe a 5' leader, shape (N, 4 * REACH + 84 + 4).

    Nucleotides counted from the 3' end (where the start codon follows), words of 1 to 3, upstream
    AUGs in the frame of the start codon and in the two others, and the length.
    """
    rows = []
    for sequence in sequences:
        letters = codes(sequence)[-REACH:]
        places = np.zeros((REACH, 5))
        places[np.arange(len(letters)), letters[::-1]] = 1.0
        starts = [
            len(sequence) - k for k in range(len(sequence) - 2) if sequence[k : k + 3] == "AUG"
        ]
        frames = [sum(s % 3 == frame for s in starts) for frame in range(3)]
        rows.append(
            np.concatenate([places[:, :4].ravel(), _words(sequence, 3), frames, [len(sequence)]])
        )
    return np.stack(rows)


def boosting(sequences: Sequence[str], values: Sequence[float], *, seed: int = 0) -> Predict:
    """Fit gradient boosting to `leader_features`."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(max_iter=400, learning_rate=0.08, random_state=seed)
    model.fit(leader_features(sequences), list(values))
    return lambda items: model.predict(leader_features(items))


def ridge(sequences: Sequence[str], values: Sequence[float]) -> Predict:
    """Fit a ridge regression to `leader_features`."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), Ridge(alpha=100.0))
    model.fit(leader_features(sequences), list(values))
    return lambda items: model.predict(leader_features(items))


def baselines(
    task: str, sequences: Sequence[str], *, seed: int = 0
) -> dict[str, Callable[[Sequence[Any]], Predict]]:
    """Baselines of a task (``classify`` or ``regress``), each yet to be fitted.

    Returns
    -------
    dict of str to callable
        Name to a function that takes the labels of the training sequences and gives one from other
        sequences to labels, or numbers. The weight array is among them where all sequences have
        one length.
    """
    if task == "regress":
        return {
            "boosting": lambda values: boosting(sequences, values, seed=seed),
            "ridge": lambda values: ridge(sequences, values),
        }
    found: dict[str, Callable[[Sequence[Any]], Predict]] = {
        "k-mers": lambda labels: word_regression(sequences, labels)
    }
    if len({len(s) for s in sequences}) == 1:
        found["weight array"] = lambda labels: weight_array(sequences, labels)
    return found
