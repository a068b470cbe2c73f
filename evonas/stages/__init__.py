"""The stages by name; each is imported only when it runs."""

TARGETS = {
    "run": "evonas.stages.run.Pipeline",
    "preview": "evonas.stages.run.Pipeline",
    "pretrain": "evonas.stages.pretrain.Pretrain",
    "teacher": "evonas.stages.teacher.Teacher",
    "supernet": "evonas.stages.supernet.Supernet",
    "cost_levels": "evonas.stages.cost_levels.CostLevels",
    "latency_table": "evonas.stages.latency_table.BuildLatencyTable",
    "search": "evonas.stages.search.Search",
    "select": "evonas.stages.select.Select",
    "retrain": "evonas.stages.retrain.Retrain",
    "baselines": "evonas.stages.baselines.Baselines",
    "rank": "evonas.stages.rank.Rank",
    "discover": "evonas.stages.discover.Discover",
    "evaluate": "evonas.stages.evaluate.Evaluate",
    "export": "evonas.stages.export.Export",
    "report": "evonas.stages.report.Report",
    "convert": "evonas.stages.convert.Convert",
    "check": "evonas.stages.check.Check",
    "measure": "evonas.stages.measure.Measure",
    "show": "evonas.stages.show.Show",
    "list": "evonas.stages.list.List",
    "cost": "evonas.stages.cost.ShowCost",
    "compare": "evonas.stages.compare.Compare",
    "serve_latency": "evonas.stages.serve_latency.ServeLatency",
    "doctor": "evonas.stages.doctor.Doctor",
}
# stages made of others
PIPELINES = frozenset({"run", "preview"})
# equals `not Stage.needs_task`, without importing the stage, which may take seconds
NEEDS_NO_TASK = frozenset({"compare", "convert", "cost", "doctor", "list", "report", "serve_latency", "show"})

# stages that work outside of runs
NEEDS_NO_RUN = frozenset({"check", "compare", "convert", "cost", "doctor", "list", "serve_latency"})

# stages of a run that trains no network
NEEDS_NO_NETWORK = frozenset(
    {
        "run", "search", "select", "discover", "report", "measure", "show", "compare", "list", "doctor",
        "serve_latency",
    }
)  # fmt: skip

# stages that may read a run while another command drives it
READS_ONLY = frozenset({"report", "show"})

# stages that show or measure the networks of networks=
LOOKS_AT_NETWORKS = frozenset({"measure", "show"})
