#!/usr/bin/env python3
"""Numbers of the other losses, metrics, optimizers and schedules of Keras, in float64.

    pip install "keras==3.15.1" jax safetensors numpy
    python generate_more.py             # writes beside itself
    python generate_more.py metrics     # writes into ../keras_training_metrics
    python generate_more.py sets        # writes into ../keras_training_sets

cases.json and tensors.safetensors have the form of ../keras_training/generate.py.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "keras_training"))

import generate as base  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from generate import loss_case, metric_case, optimizer_case, rng, softmax  # noqa: E402


def optimizers():
    O, S = keras.optimizers, keras.optimizers.schedules
    for name, make, options in (
        ("rmsprop", O.RMSprop, {}), ("rmsprop_momentum", O.RMSprop, {"momentum": 0.6, "rho": 0.7}),
        ("rmsprop_centered", O.RMSprop, {"centered": True}),
        ("rmsprop_centered_momentum", O.RMSprop, {"centered": True, "momentum": 0.5}),
        ("nadam", O.Nadam, {}), ("nadam_betas", O.Nadam, {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3}),
        ("adagrad", O.Adagrad, {}), ("adagrad_start", O.Adagrad, {"initial_accumulator_value": 0.5}),
        ("adadelta", O.Adadelta, {}), ("adamax", O.Adamax, {}),
        ("ftrl", O.Ftrl, {}),
        ("ftrl_all", O.Ftrl, {"learning_rate_power": -0.7, "l1_regularization_strength": 0.05,
                              "l2_regularization_strength": 0.1, "beta": 0.2,
                              "l2_shrinkage_regularization_strength": 0.03}),
        ("lion", O.Lion, {}), ("lamb", O.Lamb, {}),
        ("adafactor", O.Adafactor, {}),
        ("adafactor_all", O.Adafactor, {"beta_2_decay": -0.6, "epsilon_2": 0.01, "clip_threshold": 0.7,
                                        "relative_step": False}),
        ("muon", O.Muon, {"adam_lr_ratio": 1.0}), ("muon_plain", O.Muon, {"adam_lr_ratio": 1.0, "nesterov": False, "rms_rate": None, "ns_steps": 3}),
        ("muon_excluded", O.Muon, {"exclude_layers": ["^a/"], "adam_lr_ratio": 0.5, "adam_weight_decay": None}),
        ("schedule_free", O.ScheduleFreeAdamW, {}),
        ("schedule_free_warmup", O.ScheduleFreeAdamW, {"warmup_steps": 3}),
    ):
        def case(tag, **more):
            optimizer_case(name + tag, make(**{"learning_rate": 0.05, **options, **more}), steps=4)

        case("")
        case("_decay_clip", weight_decay=0.1, clipnorm=1.0)
        case("_accumulation_ema", gradient_accumulation_steps=2, use_ema=True, ema_momentum=0.6,
             ema_overwrite_frequency=2, global_clipnorm=1.5, loss_scale_factor=2.0)
    optimizer_case("adafactor_schedule", O.Adafactor(S.InverseTimeDecay(2.0, 1, 0.5)), steps=4)
    optimizer_case("lamb_excluded", O.Lamb(0.05, weight_decay=0.3), excluded=["bias"], steps=3)
    optimizer_case("muon_excluded_bias", O.Muon(0.05, adam_lr_ratio=1.0), excluded=["bias"], steps=3)


def schedules():
    S = keras.optimizers.schedules
    for name, s in (
        ("polynomial", S.PolynomialDecay(0.1, 7, 0.01)), ("polynomial_power", S.PolynomialDecay(0.1, 7, power=0.5)),
        ("polynomial_cycle", S.PolynomialDecay(0.1, 5, 0.02, power=2.0, cycle=True)),
        ("piecewise", S.PiecewiseConstantDecay([3, 8, 15], [0.1, 0.05, 0.02, 0.01])),
        ("piecewise_two", S.PiecewiseConstantDecay([6], [1.0, 0.5])),
        ("inverse", S.InverseTimeDecay(0.1, 3, 0.5)), ("inverse_staircase", S.InverseTimeDecay(0.1, 3, 0.5, True)),
        ("restarts", S.CosineDecayRestarts(0.1, 4)), ("restarts_all", S.CosineDecayRestarts(0.1, 3, 1.5, 0.7, 0.1)),
        ("restarts_even", S.CosineDecayRestarts(0.1, 4, t_mul=1.0, m_mul=0.5)),
    ):
        case = {"name": "schedule_" + name, "kind": "schedule", "schedule": S.serialize(s)}
        base.put(case, "expect", np.array([float(s(np.int64(i))) for i in range(20)]))
        base.cases.append(case)


def losses():
    L = keras.losses
    x, t = rng.normal(size=(4, 3, 5)), rng.normal(size=(4, 3, 5))
    p, one_hot = softmax(x), np.eye(5)[rng.integers(0, 5, (4, 3))]
    share = rng.random((4, 3, 5))
    binary = rng.integers(0, 2, (4, 3, 5)).astype(np.float64)
    signs = 2 * binary - 1
    weight, mask = rng.uniform(0, 2, (4, 3)), rng.random((4, 3)) < 0.6
    for name, make, target, prediction in (
        ("mape", L.MeanAbsolutePercentageError, t, x), ("msle", L.MeanSquaredLogarithmicError, np.abs(t), np.abs(x)),
        ("cosine", L.CosineSimilarity, t, x), ("log_cosh", L.LogCosh, t, x), ("hinge", L.Hinge, signs, x),
        ("hinge_binary", L.Hinge, binary, x), ("hinge_other", L.Hinge, t, x),
        ("squared_hinge", L.SquaredHinge, binary, x), ("categorical_hinge", L.CategoricalHinge, one_hot, x),
        ("kl", L.KLDivergence, softmax(t), p), ("poisson", L.Poisson, np.abs(t), np.abs(x)),
        ("binary_focal", L.BinaryFocalCrossentropy, binary, share),
        ("categorical_focal", L.CategoricalFocalCrossentropy, one_hot, p),
    ):
        loss_case(name, make(), target, prediction)
        loss_case(name + "_sum_weighted_masked", make(reduction="sum"), target, prediction, weight, mask)
        loss_case(name + "_masked", make(), target, prediction, None, mask)
    loss_case("msle_negative", L.MeanSquaredLogarithmicError(), t, x)
    loss_case("mape_zero", L.MeanAbsolutePercentageError(), binary, x)
    loss_case("kl_edges", L.KLDivergence(), binary, 1.2 * share)
    for logits in (False, True):
        tail = "_logits" if logits else ""
        loss_case("binary_focal_all" + tail, L.BinaryFocalCrossentropy(
            apply_class_balancing=True, alpha=0.4, gamma=1.5, from_logits=logits, label_smoothing=0.1),
            binary, x if logits else share)
        loss_case("categorical_focal_all" + tail, L.CategoricalFocalCrossentropy(
            alpha=0.4, gamma=1.5, from_logits=logits, label_smoothing=0.1), one_hot, x if logits else share)
    for name, loss in (("dice", L.Dice()), ("dice_axis", L.Dice(axis=(1, 2))), ("dice_last", L.Dice(axis=-1)),
                       ("tversky", L.Tversky()), ("tversky_all", L.Tversky(alpha=0.3, beta=0.8, axis=(1, 2)))):
        loss_case(name, loss, binary, share)
    loss_case("dice_axis_weighted", L.Dice(axis=(1, 2), reduction="sum"), binary, share, rng.uniform(0, 2, (4,)))
    ids = rng.integers(0, 5, (4,)).astype(np.int32)
    loss_case("generalized", L.CategoricalGeneralizedCrossEntropy(q=0.7), ids, softmax(x[:, 0]))
    loss_case("generalized_default", L.CategoricalGeneralizedCrossEntropy(), ids, softmax(x[:, 0]), weight[:, 0])


def metrics():
    M = keras.metrics

    def batches(make, weights=None):
        out = []
        for n in (5, 3, 4):
            t, p = make(n)
            out.append((t, p, None if weights is None else rng.uniform(0, 2, (n,) + weights), None))
        return out

    def values(n):
        return rng.normal(size=(n, 4)), rng.normal(size=(n, 4))

    def binary(n):
        return rng.integers(0, 2, (n, 4)).astype(np.float64), rng.random((n, 4))

    def signs(n):
        return 2.0 * rng.integers(0, 2, (n, 4)) - 1, rng.normal(size=(n, 4))

    def one_hot(n):
        return np.eye(5)[rng.integers(0, 5, (n,))], softmax(rng.normal(size=(n, 5)))

    def labels(n):
        return rng.integers(0, 5, (n, 1)).astype(np.int32), softmax(rng.normal(size=(n, 5)))

    def positive(n):
        return rng.random((n, 4)) + 0.1, rng.random((n, 4)) + 0.1

    for tail, weights in (("", None), ("_weighted", ())):
        for name, metric, make in (
            ("rmse", M.RootMeanSquaredError(), values), ("mape", M.MeanAbsolutePercentageError(), values),
            ("msle", M.MeanSquaredLogarithmicError(), positive), ("log_cosh", M.LogCoshError(), values),
            ("cosine", M.CosineSimilarity(), values), ("hinge", M.Hinge(), signs),
            ("squared_hinge", M.SquaredHinge(), signs), ("categorical_hinge", M.CategoricalHinge(), one_hot),
            ("kl", M.KLDivergence(), positive), ("poisson", M.Poisson(), positive),
            ("top_k", M.TopKCategoricalAccuracy(k=2), one_hot),
            ("sparse_top_k", M.SparseTopKCategoricalAccuracy(k=3), labels),
            ("r2", M.R2Score(), values), ("r2_none", M.R2Score(class_aggregation="variance_weighted_average"), values),
            ("f1_by_weight", M.F1Score(average="weighted", threshold=0.5), binary), ("f1_macro", M.F1Score(average="macro", threshold=0.3), binary),
            ("fbeta", M.FBetaScore(beta=2.0, average="micro", threshold=0.5), binary),
            ("fbeta_by_weight", M.FBetaScore(beta=0.5, average="weighted"), one_hot),
        ):
            metric_case(name + tail, metric, batches(make, weights))
        for name, metric, make in (
            ("precision", M.Precision(), binary), ("recall", M.Recall(thresholds=0.3), binary),
            ("precision_top_k", M.Precision(top_k=2), one_hot), ("recall_class", M.Recall(class_id=1, thresholds=0.2), one_hot),
            ("true_positives", M.TruePositives(), binary), ("false_positives", M.FalsePositives(thresholds=0.7), binary),
            ("true_negatives", M.TrueNegatives(), binary), ("false_negatives", M.FalseNegatives(), binary),
            ("auc", M.AUC(), binary), ("auc_pr", M.AUC(curve="PR", num_thresholds=50), binary),
            ("auc_minoring", M.AUC(summation_method="minoring"), binary),
            ("auc_majoring_pr", M.AUC(curve="PR", summation_method="majoring"), binary),
            ("auc_thresholds", M.AUC(thresholds=[0.2, 0.6, 0.4]), binary),
            ("sensitivity", M.SensitivityAtSpecificity(0.5), binary),
            ("specificity", M.SpecificityAtSensitivity(0.4), binary),
            ("precision_at_recall", M.PrecisionAtRecall(0.5), binary),
            ("recall_at_precision", M.RecallAtPrecision(0.6), binary),
        ):
            metric_case(name + tail, metric, batches(make, (4,) if tail and make is binary else weights))
    metric_case("auc_logits", M.AUC(from_logits=True), batches(lambda n: (binary(n)[0], rng.normal(size=(n, 4)))))


def sets():
    """Losses of sequences and of sets of samples, and the metrics of classes and labels."""
    L, M = keras.losses, keras.metrics
    x = rng.normal(size=(5, 7, 4)) * 2
    words = np.array([[1, 2, 3, 0], [2, 2, 0, 0], [0, 0, 0, 0], [3, 3, 3, 0], [1, 0, 2, 2]], np.int32)
    loss_case("ctc", L.CTC(), words, x)
    loss_case("ctc_none", L.CTC(reduction="none"), words, x)
    loss_case("ctc_sum_weighted", L.CTC(reduction="sum"), words, x, rng.uniform(0, 2, (5,)))
    loss_case("ctc_full", L.CTC(), np.array([[1, 1, 2, 3], [3, 2, 1, 2]], np.int32), x[:2, :6])
    loss_case("ctc_short", L.CTC(), np.array([[1, 2], [1, 1]], np.int32), x[:2, :2])
    e = rng.normal(size=(6, 3))
    unit = e / np.linalg.norm(e, axis=-1, keepdims=True)
    ids = np.array([0, 1, 0, 2, 1, 0], np.int32)
    for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight", "none"):
        for tail, w in (("", None), ("_weighted", rng.uniform(0, 2, (6,)))):
            loss_case("circle_%s%s" % (reduction, tail), L.Circle(gamma=8.0, reduction=reduction), ids, unit, w)
    loss_case("circle_default", L.Circle(), ids[:, None], unit)
    loss_case("circle_margin", L.Circle(gamma=5.0, margin=0.15, remove_diagonal=False), ids - 7, 0.8 * unit)
    loss_case("circle_long", L.Circle(gamma=2.0), ids, 2 * e)
    loss_case("circle_alone", L.Circle(gamma=2.0), np.array([0, 1, 0, 2, 3, 0], np.int32), unit, np.array([1., 0, 2, 1, 0, 1]))
    loss_case("circle_one_class", L.Circle(gamma=2.0), np.zeros(6, np.int32), unit)

    def batches(make, weights=None):
        out = []
        for n in (5, 3, 4):
            t, p = make(n)
            out.append((t, p, None if weights is None else rng.uniform(0, 3, (n,) + weights), None))
        return out

    def classes(n):
        return rng.integers(-1, 4, (n, 4)), rng.integers(0, 4, (n, 4))

    def scores(n):
        return rng.integers(0, 3, (n, 2)), rng.normal(size=(n, 2, 3))

    def one_hot(n):
        return np.eye(3)[rng.integers(0, 3, (n,))], rng.normal(size=(n, 3))

    def binary(n):
        return rng.integers(0, 2, (n, 4)).astype(np.float64), rng.random((n, 4))

    def values(n):
        return rng.normal(size=(n, 4)), rng.normal(size=(n, 4))

    for name, metric, make, weights in (
        ("iou", M.IoU(3, [0, 2]), classes, None), ("iou_one", M.IoU(4, [1], ignore_class=2), classes, (4,)),
        ("iou_float", M.IoU(4, [0, 1, 3], dtype="float64"), classes, (4,)),
        ("iou_scores", M.IoU(3, [0, 1], sparse_y_pred=False), scores, None),
        ("binary_iou", M.BinaryIoU(), binary, None), ("binary_iou_one", M.BinaryIoU([1], 0.3, dtype="float64"), binary, (4,)),
        ("mean_iou", M.MeanIoU(4), classes, None), ("mean_iou_ignored", M.MeanIoU(4, ignore_class=-1), classes, (4,)),
        ("one_hot_iou", M.OneHotIoU(3, [0, 2]), one_hot, None), ("one_hot_mean_iou", M.OneHotMeanIoU(3, dtype="float64"), one_hot, ()),
        ("one_hot_sparse", M.OneHotMeanIoU(3, sparse_y_pred=True),
         lambda n: (one_hot(n)[0], rng.integers(0, 3, (n,))), None),
        ("pearson", M.PearsonCorrelation(), values, None), ("pearson_weighted", M.PearsonCorrelation(), values, ()),
        ("concordance", M.ConcordanceCorrelation(), values, None),
        ("concordance_weighted", M.ConcordanceCorrelation(), values, ()),
    ):
        metric_case(name, metric, batches(make, weights))
    for curve in ("ROC", "PR", "PRGAIN"):
        for method in ("interpolation", "minoring", "majoring"):
            options = {"curve": curve, "summation_method": method, "num_thresholds": 30}
            tag = "auc_%s_%s" % (curve.lower(), method)
            metric_case(tag + "_multi", M.AUC(multi_label=True, **options), batches(binary))
            if curve == "PRGAIN":
                metric_case(tag, M.AUC(**options), batches(binary, ()))
    weights = [0.5, 1.0, 0.0, 2.0]
    metric_case("auc_labels", M.AUC(label_weights=weights), batches(binary))
    metric_case("auc_labels_multi", M.AUC(multi_label=True, num_labels=4, label_weights=weights, from_logits=True),
                batches(lambda n: (binary(n)[0], rng.normal(size=(n, 4))), ()))
    metric_case("auc_multi_thresholds", M.AUC(multi_label=True, thresholds=[0.3, 0.35, 0.8]), batches(binary))
    x, y = rng.normal(size=(13, 3)), rng.normal(size=(13, 2))
    for tag, swap in (("", {"swap_on_epoch": False}), ("_epochs", {"swap_on_epoch": True})):
        base.fit_case("regression__swap" + tag, base.dense_model(2),
                      dict(optimizer=keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.8), loss="mse", metrics=["mae"]),
                      x, y, dict(batch_size=4, epochs=4, validation_data=(x[::2] + 0.5, y[::2])), swap=swap)
    for name, weighted in (("sum", False), ("sum_weighted", True)):
        metric = M.Sum()
        case = {"name": "metric_" + name, "kind": "metric", "class_name": "Sum", "config": metric.get_config(),
                "batches": 2}
        for i in range(2):
            x = base.put(case, "%d.prediction" % i, rng.normal(size=(4, 3)))
            w = base.put(case, "%d.sample_weight" % i, rng.uniform(0, 2, (4,))) if weighted else None
            metric.update_state(x, w)
            base.put(case, "%d.expect" % i, np.float64(metric.result()))
        base.cases.append(case)


if __name__ == "__main__":
    parts = sys.argv[1:] or ("optimizers", "schedules", "losses")
    for part in parts:
        globals()[part]()
    folder = {"metrics": "keras_training_metrics", "sets": "keras_training_sets"}.get(parts[0], "keras_training_more")
    base.write(os.path.join(HERE, "..", folder))
