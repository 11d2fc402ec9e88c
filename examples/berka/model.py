"""A logistic regression on few loans: how well it ranks, and how little that says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Each repeat cuts the loans into folds anew.
REPEATS, FOLDS = 10, 5


@dataclass(frozen=True)
class Auc:
    """ROC AUC of out-of-fold predictions.

    Attributes:
        mean, sd: over repeats of the cross-validation; sd is the luck of the split alone.
        low, high: 95 % interval of the mean for so few loans and defaults.
    """

    mean: float
    sd: float
    low: float
    high: float


def out_of_fold_auc(features: np.ndarray, defaulted: np.ndarray) -> Auc:
    """How well a logistic regression ranks loans that it was not trained on."""
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        VarianceThreshold(),
        StandardScaler(),
        LogisticRegression(solver="newton-cholesky"),
    )
    aucs = []
    for seed in range(REPEATS):
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        predicted = cross_val_predict(model, features, defaulted, cv=folds, method="predict_proba")[:, 1]
        aucs.append(roc_auc_score(defaulted, predicted))
    mean, defaults = float(np.mean(aucs)), int(defaulted.sum())
    margin = 1.96 * standard_error(mean, defaults, len(defaulted) - defaults)
    return Auc(mean, float(np.std(aucs, ddof=1)), max(0.0, mean - margin), min(1.0, mean + margin))


def standard_error(auc: float, positives: int, negatives: int) -> float:
    """Of an area under the ROC curve. Source: Hanley and McNeil 1982, Radiology 143(1)."""
    of_positives, of_negatives = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc)
        + (positives - 1) * (of_positives - auc**2)
        + (negatives - 1) * (of_negatives - auc**2)
    ) / (positives * negatives)
    return float(np.sqrt(variance))
