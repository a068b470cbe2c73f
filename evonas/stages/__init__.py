"""The verbs a user may type, found by name and imported only when they run."""

TARGETS = {
    "run": "evonas.stages.run.Pipeline",
    "pretrain": "evonas.stages.pretrain.Pretrain",
    "teacher": "evonas.stages.teacher.Teacher",
    "supernet": "evonas.stages.supernet.Supernet",
    "levels": "evonas.stages.levels.Levels",
    "lookup": "evonas.stages.lookup.Lookup",
    "search": "evonas.stages.search.Search",
    "select": "evonas.stages.select.Select",
    "retrain": "evonas.stages.retrain.Retrain",
    "rank": "evonas.stages.rank.Rank",
    "discover": "evonas.stages.discover.Discover",
    "evaluate": "evonas.stages.evaluate.Evaluate",
    "export": "evonas.stages.export.Export",
    "report": "evonas.stages.report.Report",
    "convert": "evonas.stages.convert.Convert",
    "measure": "evonas.stages.measure.Measure",
    "show": "evonas.stages.show.Show",
    "list": "evonas.stages.list.List",
    "compare": "evonas.stages.compare.Compare",
    "doctor": "evonas.stages.doctor.Doctor",
}
# equal to `not Stage.needs_task`, but known before a stage is imported, which may take seconds
NEEDS_NO_TASK = frozenset({"compare", "convert", "doctor", "list", "report", "show"})

# stages that work in no run, and leave none
NEEDS_NO_RUN = frozenset({"compare", "convert", "doctor", "list"})

# what is left to do where `evaluator` stands in for trained weights
NEEDS_NO_NETWORK = frozenset(
    {"run", "search", "select", "discover", "report", "measure", "show", "compare", "list", "doctor"}
)

# stages that may work in a run while another command drives it
READS_ONLY = frozenset({"report", "show"})

# stages that look at the networks of genotype=, wherever they come from
LOOKS_AT_NETWORKS = frozenset({"measure", "show"})
