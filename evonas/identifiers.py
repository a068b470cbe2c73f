"""What identities call the classes, arguments and settings of a config: names that outlive moves and renamings.

The path of a `_target_` changes when its module moves; its id never does. Identities and fingerprints are
written with ids, and an id, the path of the first release and the present path all mean the same thing.
The first release itself wrote paths: a file of it is compared by `identified`, and what it hashed is hashed
again by `as_first_release`. Arguments and settings keep the names of the first release in identities, whatever
they are called now.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

Naming: TypeAlias = Callable[[Any], Any]

# Never change a line: archives are filed under both sides. What is new gets a line with its first path.
FIRST_RELEASE: Mapping[str, str] = MappingProxyType(
    {
        "augment/crop": "evonas.data.canvas.CropAugment",
        "augment/depth": "evonas.data.depth_augment.DepthAugment",
        "augment/photometric": "evonas.data.photometric.Photometric",
        "augment/views": "evonas.data.mixing.Views",
        "cells/nb201": "evonas.nn.cells.nb201.NB201Net",
        "cells/transnas": "evonas.nn.cells.transnas.TransNASNet",
        "cheap/column": "evonas.objectives.tabular.KnownColumn",
        "cheap/gene_sum": "evonas.search.cheap.GeneSum",
        "cheap/macs": "evonas.objectives.closed.ClosedMacs",
        "cheap/params": "evonas.objectives.analytic_costs.AnalyticParams",
        "choice/best": "evonas.search.choosing.Best",
        "choice/expected": "evonas.search.expected.ExpectedGain",
        "choice/hypervolume": "evonas.search.choosing.HypervolumeGain",
        "choice/roulette": "evonas.search.model_based.acquisition.roulette.Roulette",
        "choice/spread": "evonas.search.choosing.Spread",
        "choice/together": "evonas.search.together.GainTogether",
        "curriculum/pst": "evonas.train.curriculum.PST",
        "data/accel": "evonas.data.accel.accel",
        "data/ade20k": "evonas.data.ade20k.Ade20k",
        "data/camvid": "evonas.data.camvid.CamVid",
        "data/cityscapes": "evonas.data.cityscapes.Cityscapes",
        "data/coco": "evonas.data.coco.Coco",
        "data/depth_folders": "evonas.data.depth.depth_folders.DepthFolders",
        "data/image_folder": "evonas.data.imagefolder.ImageFolder",
        "data/kitti": "evonas.data.kitti.Kitti",
        "data/macro": "evonas.data.macro.macro",
        "data/mask_folders": "evonas.data.mask_folders.MaskFolders",
        "data/nb101": "evonas.data.nb101.nb101",
        "data/nb201": "evonas.data.tables.nb201",
        "data/nb301": "evonas.data.nb301.nb301",
        "data/nyu": "evonas.data.nyu.Nyu",
        "data/own_table": "evonas.data.tables.own",
        "data/pictures": "evonas.data.named.NamedPictures",
        "data/sequences": "evonas.data.sequences.Sequences",
        "data/shapes": "evonas.data.shapes.Shapes",
        "data/shards": "evonas.data.shards.Shards",
        "data/synthetic": "evonas.data.synthetic.SyntheticScenes",
        "data/synthetic_views": "evonas.data.synthetic_views.SyntheticViews",
        "data/transnas": "evonas.data.tables.transnas",
        "distill/caddkd": "evonas.train.distill.Distiller",
        "distill/soft_labels": "evonas.train.distillation.soft_labels.SoftLabels",
        "distill/logits": "evonas.train.distillation.logits.LogitDistiller",
        "draw/attentive": "evonas.train.draws.attentive.Attentive",
        "draw/banks": "evonas.train.draws.banks.Banks",
        "draw/growing": "evonas.train.draws.growing.Growing",
        "draw/level_walk": "evonas.train.draws.level_walk.LevelWalk",
        "draw/pool": "evonas.train.draws.pool.Pool",
        "encoding/layers": "evonas.search.diffusion.layers.LayerMatrix",
        "evaluate/full": "evonas.search.measuring.Full",
        "evaluate/racing": "evonas.search.racing.Racing",
        "evaluator/analytic": "evonas.objectives.synthetic.AnalyticEvaluator",
        "evaluator/joint": "evonas.objectives.joint.JointEvaluator",
        "evaluator/scored_table": "evonas.objectives.scored_table.ScoredTable",
        "evaluator/supernet": "evonas.objectives.evaluator.Evaluator",
        "evaluator/table": "evonas.objectives.tabular.TableEvaluator",
        "fitness/accuracy": "evonas.search.fitness.AccuracyFitness",
        "fitness/front": "evonas.search.fitness.FrontFitness",
        "fitness/loss": "evonas.search.diffusion.fitness.LossFitness",
        "head/classifier": "evonas.nn.classifier.Classifier",
        "head/expanded_classifier": "evonas.nn.expanded_classifier.ExpandedClassifier",
        "head/fcn": "evonas.nn.fcn_head.FCNHead",
        "head/gaussians": "evonas.nn.gaussians.GaussianHead",
        "head/light": "evonas.nn.heads.DenseHead",
        "head/mamba": "evonas.nn.topdown.SASFDecoder",
        "head/mobilenet_v3": "evonas.nn.mobilenet_v3.MobileNetV3Head",
        "head/mmdet_rcnn": "evonas.mm.rcnn.MMDetRCNN",
        "head/mmseg_upernet": "evonas.mm.upernet.MMSegUPerNet",
        "head/rcnn": "evonas.nn.detection.rcnn.RCNN",
        "head/upernet": "evonas.nn.upernet.UPerNet",
        "loss/ohem": "evonas.tasks.ohem.OHEM",
        "lesson/divergence": "evonas.train.divergence.AlphaDivergence",
        "lesson/inplace": "evonas.train.inplace.InPlace",
        "matrices/fasterseg": "evonas.supernets.fasterseg.matrix_encoding.FasterSegMatrices",
        "merge/nasvit": "evonas.train.conflict.NasVit",
        "merge/pcgrad": "evonas.train.conflict.PcGrad",
        "merge/watched": "evonas.train.conflict.Watched",
        "neck/fpn": "evonas.nn.necks.fpn.FPN",
        "neck/mamba_fpn": "evonas.nn.necks.mamba_fpn.MambaFPN",
        "network/evonet": "evonas.nn.backbone.Backbone",
        "network/elastic_timm": "evonas.supernets.elastic_timm.family.ElasticTimm",
        "network/mbconv": "evonas.supernets.mbconv.family.MBConv",
        "network/elasticvit": "evonas.supernets.elasticvit.family.ElasticViT",
        "network/fasterseg": "evonas.supernets.fasterseg.family.FasterSeg",
        "network/nb201_cell": "evonas.supernets.nb201_cell.family.NB201",
        "network/ofa_mbv3": "evonas.supernets.ofa_mbv3.family.OFAMobileNetV3",
        "objective/energy": "evonas.objectives.footprint.Energy",
        "objective/error": "evonas.objectives.error.Error",
        "objective/error_int8": "evonas.objectives.error_int8.ErrorInt8",
        "objective/finetuned_error": "evonas.objectives.finetuned_error.FinetunedError",
        "objective/latency": "evonas.objectives.latency.Latency",
        "objective/latency_lookup": "evonas.objectives.lookup.LookupLatency",
        "objective/latency_published": "evonas.objectives.latency.published_table.PublishedLatency",
        "objective/macs": "evonas.objectives.macs.Macs",
        "objective/params": "evonas.objectives.params.Params",
        "objective/peak_memory": "evonas.objectives.footprint.PeakMemory",
        "objective/zero_cost": "evonas.objectives.zero_cost.ZeroCost",
        "runtime/auto": "evonas.runtimes.choice.Auto",
        "runtime/executorch": "evonas.runtimes.executorch.ExecuTorch",
        "runtime/int8": "evonas.runtimes.quantisation.Quantisation",
        "runtime/litert": "evonas.runtimes.litert.LiteRT",
        "runtime/onnxruntime": "evonas.runtimes.onnxruntime.OnnxRuntime",
        "runtime/openvino": "evonas.runtimes.openvino.OpenVino",
        "runtime/remote": "evonas.runtimes.remote.Remote",
        "runtime/tensorrt": "evonas.runtimes.tensorrt.TensorRT",
        "runtime/torch": "evonas.runtimes.torch_eager.TorchEager",
        "runtime/torch_compile": "evonas.runtimes.torch_compile.TorchCompile",
        "search/constrained": "evonas.search.constrained.ConstrainedEvolution",
        "search/diffusion": "evonas.search.denoising.DiffusionEvolution",
        "search/ednag": "evonas.search.ednag.EDNAG",
        "search/guided": "evonas.search.guided.GuidedSearch",
        "search/local": "evonas.search.local.LocalSearch",
        "search/matrices": "evonas.search.evolution.matrices.MatrixEvolution",
        "search/nested": "evonas.search.pruning.nested_order.NestedOrder",
        "search/nsga2": "evonas.search.nsga.NSGA2",
        "search/nsga3": "evonas.search.nsga3.NSGA3",
        "search/pool": "evonas.search.pool.RankedPool",
        "search/random": "evonas.search.random.RandomSearch",
        "search/regularized": "evonas.search.regularized.RegularizedEvolution",
        "search/surroundings": "evonas.search.surroundings.Surroundings",
        "space/cell": "evonas.space.cell.cell_space",
        "space/chain": "evonas.space.chain.chain_space",
        "space/declared": "evonas.space.declared.declared_space",
        "space/edges": "evonas.space.edges.edge_cell",
        "space/evonet": "evonas.space.evonet.evonet_space",
        "space/macro": "evonas.space.macro.macro_space",
        "space/elastic_timm": "evonas.supernets.elastic_timm.space.elastic_space",
        "space/mbconv": "evonas.supernets.mbconv.space.mbconv_space",
        "space/elasticvit": "evonas.supernets.elasticvit.space.vit_space",
        "space/fasterseg": "evonas.supernets.fasterseg.space.fasterseg_space",
        "space/ofa_mbv3": "evonas.supernets.ofa_mbv3.space.ofa_space",
        "stage/baselines": "evonas.stages.baselines.Baselines",
        "stage/check": "evonas.stages.check.Check",
        "stage/compare": "evonas.stages.compare.Compare",
        "stage/cost": "evonas.stages.cost.ShowCost",
        "stage/convert": "evonas.stages.convert.Convert",
        "stage/discover": "evonas.stages.discover.Discover",
        "stage/doctor": "evonas.stages.doctor.Doctor",
        "stage/serve_latency": "evonas.stages.serve_latency.ServeLatency",
        "stage/evaluate": "evonas.stages.evaluate.Evaluate",
        "stage/export": "evonas.stages.export.Export",
        "stage/levels": "evonas.stages.levels.Levels",
        "stage/list": "evonas.stages.list.List",
        "stage/lookup": "evonas.stages.lookup.Lookup",
        "stage/measure": "evonas.stages.measure.Measure",
        "stage/pretrain": "evonas.stages.pretrain.Pretrain",
        "stage/rank": "evonas.stages.rank.Rank",
        "stage/report": "evonas.stages.report.Report",
        "stage/retrain": "evonas.stages.retrain.Retrain",
        "stage/run": "evonas.stages.run.Pipeline",
        "stage/search": "evonas.stages.search.Search",
        "stage/select": "evonas.stages.select.Select",
        "stage/show": "evonas.stages.show.Show",
        "stage/supernet": "evonas.stages.supernet.Supernet",
        "stage/teacher": "evonas.stages.teacher.Teacher",
        "surrogate/blended": "evonas.search.joint.BlendedProcess",
        "surrogate/boosting": "evonas.search.trees.Boosting",
        "surrogate/carts": "evonas.search.trees.CARTs",
        "surrogate/gp": "evonas.search.interpolants.GP",
        "surrogate/mlp": "evonas.search.neural.MLP",
        "surrogate/normal_scores": "evonas.search.scores.NormalScores",
        "surrogate/process": "evonas.search.belief.Process",
        "surrogate/ranker": "evonas.search.ranker.PairwiseRanker",
        "surrogate/rbf": "evonas.search.interpolants.RBF",
        "surrogate/switching": "evonas.search.switching.AdaptiveSwitching",
        "task/classification": "evonas.tasks.classification.Classification",
        "task/depth": "evonas.tasks.depth.Depth",
        "task/detection": "evonas.tasks.detection.Detection",
        "task/normals": "evonas.tasks.normals.Normals",
        "task/segmentation": "evonas.tasks.segmentation.Segmentation",
        "task/splat": "evonas.tasks.splat.Splat",
        "task/table": "evonas.tasks.table.TableTask",
        "teacher/deeplabv3plus": "evonas.train.teachers.deeplab.DeepLabV3Plus",
        "teacher/depth_anything": "evonas.train.depth_anything.DepthAnything",
        "teacher/dinov2": "evonas.train.dinov2.Dinov2Body",
        "teacher/mask2former": "evonas.train.mask2former.Mask2Former",
        "teacher/subnet": "evonas.train.teachers.subnet.SubnetBackbone",
        "teacher/timm": "evonas.train.teacher.TimmBody",
        "teacher/timm_classifiers": "evonas.train.teachers.timm_classifiers.TimmClassifiers",
        "tracker/csv": "evonas.track.csv.CsvTracker",
        "tracker/mlflow": "evonas.track.mlflow.MLflowTracker",
        "tracker/none": "evonas.track.base.Silent",
        "tracker/tensorboard": "evonas.track.tensorboard.TensorBoardTracker",
        "tracker/wandb": "evonas.track.wandb.WandbTracker",
    }
)
# where things are that have moved since, by id
MOVED: dict[str, str] = {
    "augment/crop": "evonas.data.segmentation.variable_size.CropAugment",
    "augment/depth": "evonas.data.depth.augment.DepthAugment",
    "augment/photometric": "evonas.data.segmentation.photometric.Photometric",
    "augment/views": "evonas.data.classification.augment.Views",
    "cheap/column": "evonas.objectives.tabular.evaluator.KnownColumn",
    "cheap/gene_sum": "evonas.search.analytic_objectives.GeneSum",
    "cheap/macs": "evonas.objectives.analytic_costs.AnalyticMacs",
    "choice/best": "evonas.search.model_based.acquisition.subset.RankAndCrowding",
    "choice/expected": "evonas.search.model_based.acquisition.ehvi.EHVI",
    "choice/hypervolume": "evonas.search.model_based.acquisition.subset.HypervolumeSubset",
    "choice/spread": "evonas.search.model_based.acquisition.subset.EvenSpacing",
    "choice/together": "evonas.search.model_based.acquisition.ehvi.BatchEHVI",
    "curriculum/pst": "evonas.train.curriculum.Curriculum",
    "data/accel": "evonas.data.nas_bench.accel_nasbench.accel",
    "data/ade20k": "evonas.data.segmentation.ade20k.Ade20k",
    "data/camvid": "evonas.data.segmentation.camvid.CamVid",
    "data/cityscapes": "evonas.data.segmentation.cityscapes.Cityscapes",
    "data/coco": "evonas.data.detection.coco.Coco",
    "data/image_folder": "evonas.data.classification.imagefolder.ImageFolder",
    "data/kitti": "evonas.data.depth.kitti.Kitti",
    "data/macro": "evonas.data.nas_bench.macro.macro",
    "data/mask_folders": "evonas.data.segmentation.mask_folders.MaskFolders",
    "data/nb101": "evonas.data.nas_bench.nb101.nb101",
    "data/nb201": "evonas.data.nas_bench.base.nb201",
    "data/nb301": "evonas.data.nas_bench.nb301.nb301",
    "data/nyu": "evonas.data.depth.nyu.Nyu",
    "data/own_table": "evonas.data.nas_bench.base.own",
    "data/pictures": "evonas.data.classification.catalogue.NamedImages",
    "data/sequences": "evonas.data.views.video_windows.Sequences",
    "data/shapes": "evonas.data.synthetic.shapes.Shapes",
    "data/shards": "evonas.data.classification.shards.Shards",
    "data/synthetic": "evonas.data.synthetic.scenes.SyntheticScenes",
    "data/synthetic_views": "evonas.data.synthetic.views.SyntheticViews",
    "data/transnas": "evonas.data.nas_bench.base.transnas",
    "distill/caddkd": "evonas.train.distillation.cross_architecture.Distiller",
    "draw/attentive": "evonas.train.sampling.attentive.AttentiveSampling",
    "draw/banks": "evonas.train.sampling.performance_aware.PerformanceAwareSampling",
    "draw/growing": "evonas.train.sampling.small_to_large.SmallToLargeSampling",
    "draw/level_walk": "evonas.train.sampling.complexity_aware.ComplexityAwareSampling",
    "draw/pool": "evonas.train.sampling.replay_pool.ReplayPoolSampling",
    "evaluate/full": "evonas.search.loop.evaluation.Full",
    "evaluate/racing": "evonas.search.loop.racing.Racing",
    "evaluator/analytic": "evonas.objectives.tabular.analytic.AnalyticEvaluator",
    "evaluator/joint": "evonas.objectives.multi_task.JointEvaluator",
    "evaluator/scored_table": "evonas.objectives.tabular.proxy_columns.ScoredTable",
    "evaluator/table": "evonas.objectives.tabular.evaluator.TableEvaluator",
    "fitness/accuracy": "evonas.search.diffusion.fitness.AccuracyFitness",
    "fitness/front": "evonas.search.diffusion.fitness.FrontFitness",
    "lesson/divergence": "evonas.train.distillation.alpha_divergence.AlphaDivergence",
    "lesson/inplace": "evonas.train.distillation.inplace.InPlaceDistillation",
    "merge/nasvit": "evonas.train.optim.gradient_merge.NasVit",
    "merge/pcgrad": "evonas.train.optim.gradient_merge.PcGrad",
    "merge/watched": "evonas.train.optim.gradient_merge.MonitoredSum",
    "network/evonet": "evonas.supernets.evonet.family.EvoNet",
    "objective/latency": "evonas.objectives.latency.measured.Latency",
    "objective/latency_lookup": "evonas.objectives.latency.predicted.LookupLatency",
    "objective/macs": "evonas.objectives.analytic_costs.Macs",
    "objective/params": "evonas.objectives.analytic_costs.Params",
    "search/constrained": "evonas.search.evolution.constrained.ConstrainedEvolution",
    "search/diffusion": "evonas.search.diffusion.evolution.DiffusionEvolution",
    "search/ednag": "evonas.search.diffusion.ednag.EDNAG",
    "search/guided": "evonas.search.model_based.surrogate_search.SurrogateSearch",
    "search/local": "evonas.search.baselines.local.LocalSearch",
    "search/nsga2": "evonas.search.evolution.nsga2.NSGA2",
    "search/nsga3": "evonas.search.evolution.nsga3.NSGA3",
    "search/pool": "evonas.search.baselines.ranked_pool.RankedPool",
    "search/random": "evonas.search.baselines.random.RandomSearch",
    "search/regularized": "evonas.search.evolution.regularized.RegularizedEvolution",
    "search/surroundings": "evonas.search.model_based.neighbourhood_proposer.NeighbourhoodProposer",
    "space/evonet": "evonas.supernets.evonet.space.evonet_space",
    "stage/levels": "evonas.stages.cost_levels.CostLevels",
    "stage/lookup": "evonas.stages.latency_table.BuildLatencyTable",
    "surrogate/blended": "evonas.search.surrogates.multi_view_gp.MultiViewGaussianProcess",
    "surrogate/boosting": "evonas.search.surrogates.trees.Boosting",
    "surrogate/carts": "evonas.search.surrogates.trees.CARTs",
    "surrogate/gp": "evonas.search.surrogates.rbf.GP",
    "surrogate/mlp": "evonas.search.surrogates.mlp.MLP",
    "surrogate/normal_scores": "evonas.search.surrogates.rank_transform.NormalScores",
    "surrogate/process": "evonas.search.surrogates.gp.GaussianProcess",
    "surrogate/ranker": "evonas.search.surrogates.pairwise_ranker.PairwiseRanker",
    "surrogate/rbf": "evonas.search.surrogates.rbf.RBF",
    "surrogate/switching": "evonas.search.surrogates.model_selection.AdaptiveSwitching",
    "teacher/depth_anything": "evonas.train.teachers.depth_anything.DepthAnything",
    "teacher/dinov2": "evonas.train.teachers.dinov2.DINOv2Backbone",
    "teacher/mask2former": "evonas.train.teachers.mask2former.Mask2Former",
    "teacher/timm": "evonas.train.teachers.base.TimmBackbone",
}
_IDS = {path: name for name, path in FIRST_RELEASE.items()}
# arguments that have been renamed since: by id, or by the group of ids, present name -> that of identities.
# A group counts for the user's own classes too, where they stand in a config under its name.
ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "curriculum/pst": {
        "continue_from": "chain",
        "inplace_distillation": "lesson",
        "strategy": "draw",
    },
    "data": {
        "validation": "holdout",
        "validation_images": "holdout_images",
        "validation_seed": "holdout_seed",
        "validation_sequences": "holdout_sequences",
    },
    "draw": {"candidates": "tries"},
    "network": {"width_slicing": "slice"},
    "objective/error": {"bn_calibration_images": "recalibrate"},
    "search/constrained": {"analytic_objectives": "cheap"},
    "search/guided": {
        "acquisition": "choice",
        "analytic_objectives": "cheap",
        "exhaustive_up_to": "whole",
        "min_rank_correlation": "alarm",
        "rank_correlation_window": "memory",
    },
}
# settings outside of classes that have been renamed since, and that decide what a stage makes
SETTINGS: Mapping[str, str] = {
    "fidelity": "evaluate",
    "limits": "trainer",
    "multi_task_runs": "joint",
    "networks": "genotype",
    "select.noise_aware": "select.noise",
    "train.bn_calibration_images": "train.recalibrate",
}
# tasks that have been renamed since
TASKS: Mapping[str, str] = {"image_classification": "pictures", "multi_task": "joint"}
# in an archive's meta: how what its facts depend on is called; the first release had no such key
_KEY, _WORD = "naming", "ids"
# the first release had two arguments for what is one now, and this share where the user gave none
_MASK_FOLDERS, _MASK_SHARE = "data/mask_folders", 0.1


def identifier(target: Any) -> Any:
    """The id of what a `_target_` names, whichever way it is named; anything else as it is."""
    if not isinstance(target, str):
        return target
    moved = (name for name, path in MOVED.items() if path == target)
    return _IDS.get(target) or next(moved, target)


def present_path(target: Any) -> Any:
    """Where the thing is now that an id or a path names; anything else as it is."""
    name = identifier(target)
    if isinstance(name, str) and name in FIRST_RELEASE:
        return MOVED.get(name, FIRST_RELEASE[name])
    return target


def resolved(plain: Any) -> Any:
    """A copy of a config in which everything that is made with its root has its present path and arguments.

    What stays config (`_recursive_: false`) is left as it is written: whoever makes it may have to say what
    it is called, as evaluators do in their fingerprints.
    """
    if isinstance(plain, list):
        return [resolved(child) for child in plain]
    if not isinstance(plain, dict):
        return plain
    is_whole = plain.get("_recursive_", True)
    found = {key: resolved(child) for key, child in plain.items()} if is_whole else dict(plain)
    if "_target_" not in plain:
        return found
    name = identifier(plain["_target_"])
    if name == _MASK_FOLDERS and "holdout" in found:
        share = found.pop("holdout")
        found = {**found, "validation": share if found.get("validation") is None else found["validation"]}
    # a class of the user takes what it took
    if _has_id(name):
        present = {stable: key for key, stable in _renamings(name).items()}
        found = {present.get(key, key): child for key, child in found.items()}
    return {**found, "_target_": present_path(name)}


def as_taken(arguments: Mapping[str, Any], taken: Iterable[str]) -> dict[str, Any]:
    """Arguments in the names that a class of the user takes, which may be those of the first release."""
    names = dict(pair for renamed in ARGUMENTS.values() for pair in renamed.items())
    known = set(taken)
    return {
        names[key] if key not in known and names.get(key) in known else key: child
        for key, child in arguments.items()
    }


def identified(plain: Any) -> Any:
    """A copy of plain data in which every `_target_` that has an id is named by it, and arguments as in identities."""
    return _renamed(plain, identifier)


def as_first_release(plain: Any) -> Any:
    """A copy in which every `_target_` that has an id is the path that it had in the first release."""
    return _renamed(plain, _first_path)


def identified_settings(found: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key, in the names of identities."""
    return {
        SETTINGS.get(path, path): (
            {_last(SETTINGS.get(f"{path}.{key}", key)): each for key, each in child.items()}
            if isinstance(child, Mapping)
            else child
        )
        for path, child in found.items()
    }


def task_in_identities(name: str) -> str:
    """What identities call a task."""
    return TASKS.get(name, name)


def present_task(name: str) -> str:
    """What a task is called now that an identity names."""
    return next((now for now, before in TASKS.items() if before == name), name)


def naming_of(meta: Mapping[str, Any]) -> Naming:
    """How an archive with this meta names what its facts depend on."""
    return identified if meta.get(_KEY) == _WORD else as_first_release


def named(about: Mapping[str, Any], naming: Naming) -> dict[str, Any]:
    """What an archive says about its search, by one of the two namings; `naming_of` finds which."""
    mark = {_KEY: _WORD} if naming is identified else {}
    return {**naming(dict(about)), **mark}


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def _first_path(target: Any) -> Any:
    name = identifier(target)
    return FIRST_RELEASE.get(name, target) if isinstance(name, str) else target


def _has_id(name: Any) -> bool:
    return isinstance(name, str) and name in FIRST_RELEASE


def _renamings(name: Any, under: str = "") -> Mapping[str, str]:
    """The renamed arguments of a class, present name -> that of identities."""
    group = name.partition("/")[0] if _has_id(name) else under
    return {**ARGUMENTS.get(group, {}), **ARGUMENTS.get(str(name), {})}


def _renamed(value: Any, rename: Naming, under: str = "") -> Any:
    if isinstance(value, Mapping):
        return dict(_entries(value, rename, under))
    if isinstance(value, list | tuple):
        return [_renamed(child, rename) for child in value]
    return value


def _entries(value: Mapping[Any, Any], rename: Naming, under: str) -> Iterator[tuple[Any, Any]]:
    name = identifier(value.get("_target_"))
    arguments = _renamings(name, under) if "_target_" in value else {}
    if name == _MASK_FOLDERS and "validation" in value and "holdout" not in value:
        # one argument is a share or a name now; identities have both
        is_name = isinstance(value["validation"], str)
        share = _MASK_SHARE if is_name else value["validation"]
        value = {**value, "validation": value["validation"] if is_name else None, "holdout": share}
    for key, child in value.items():
        # a network's config may repeat the space, which identities have beside it
        if (under, key) == ("network", "space"):
            continue
        if key == "_target_":
            yield key, rename(child)
        elif key == "name" and str(name).startswith("task/"):
            yield key, task_in_identities(child)
        elif name == _MASK_FOLDERS and key == "validation":
            yield key, child
        else:
            yield arguments.get(key, key), _renamed(child, rename, str(key))
